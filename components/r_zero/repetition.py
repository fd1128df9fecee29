"""How often a batch says the same thing: BLEU distances between questions, their clusters, the share of each cluster.

R-Zero (arXiv 2508.05004), repetition penalty: d = 1 - BLEU, average linkage cut at 0.5, |C| / B. Defined here:

- BLEU (Papineni et al. 2002) of words between white space, up to 4-grams with equal weights; no match of an order
  counts as 0.1 matches (method 1 of Chen and Cherry 2014, NLTK's `method1`). BLEU has a direction, a distance has none:
  it is the mean of both. The public code takes the direction from the places in the batch, so that a question's reward
  depends on where it stands.
- Questions of the same words have distance 0, also under four words, where BLEU of a text with itself is 0.18 to 0.56.
- A question without words has distance 1 from every other one, also from another one without words.
- Of clusters equally close, average linkage joins any two first. Questions are put in the order of their texts before,
  so the clusters do not depend on the order of the batch.

Pairs are counted by products of sparse matrices, some rows at a time. The (N, N) matrix of a whole batch never exists
here: two questions of one cluster are linked by distances below the threshold, for a mean is never below its least
value, so each linked part is clustered alone, and only if some of its distances are not below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

ORDERS = (1, 2, 3, 4)
NO_MATCH = 0.1
PAIRS_AT_ONCE = 1 << 21
COMMON = 1 / 16
"""An n-gram in more of the questions than this is multiplied densely: faster than sparsely by then."""


def shares(questions: Sequence[str], threshold: float = 0.5) -> NDArray[np.float64]:
    """(N,) the share of the batch that is in the question's cluster, in [1/N, 1]: what the penalty weighs.

    `questions` is the whole rollout batch, over all processes; '' stands for a response without a question, which is
    alone in its cluster.
    """
    labels = clusters(questions, threshold)
    return np.bincount(labels)[labels] / max(1, len(labels))


def clusters(questions: Sequence[str], threshold: float = 0.5) -> NDArray[np.intp]:
    """(N,) the cluster of each question, from 0: average linkage, as long as the mean distance is below `threshold`.

    Time grows with N^2. Memory grows with N, and with the square of the largest part that is linked without being
    close throughout: 28 bytes a pair.
    """
    order = np.array(sorted(range(len(questions)), key=questions.__getitem__), np.intp)
    texts = [questions[i] for i in order]
    parts, close = _linked_parts(texts, threshold)
    labels = np.zeros(len(texts), np.intp)
    number = 0
    for members in parts:
        inside = np.zeros(len(members), np.intp)
        if close[members].sum() < len(members) * (len(members) - 1) // 2:
            inside = _average_linkage(distances([texts[i] for i in members]), threshold)
        labels[order[members]] = number + inside
        number += int(inside.max()) + 1
    return labels


def distances(questions: Sequence[str]) -> NDArray[np.float32]:
    """(N, N) symmetric, in [0, 1], 0 on the diagonal."""
    result = np.empty((len(questions), len(questions)), np.float32)
    for start, block in _rows(questions):
        rows = slice(start, start + len(block))
        result[rows, start:] = block
        result[start:, rows] = block.T
    return result


def _linked_parts(questions: Sequence[str], threshold: float) -> tuple[list[NDArray[np.intp]], NDArray[np.int64]]:
    """The members of each part that distances below `threshold` link, and for each question the later ones so close."""
    everyone = np.arange(len(questions))
    linked_to = everyone  # the first question of the part so far: the links themselves would be too many
    close = np.zeros(len(questions), np.int64)
    for start, block in _rows(questions):
        row, column = np.nonzero(np.triu(block < threshold, 1))
        close[start : start + len(block)] = np.bincount(row, minlength=len(block))
        ends = np.concatenate([row + start, everyone]), np.concatenate([column + start, linked_to])
        graph = sparse.coo_array((np.ones(len(ends[0]), bool), ends), (len(questions),) * 2)
        labels = connected_components(graph, directed=False)[1]
        linked_to = np.unique(labels, return_index=True)[1][labels]
    by_part = np.argsort(linked_to, kind="stable")
    return np.split(by_part, np.flatnonzero(np.diff(linked_to[by_part])) + 1) if len(questions) else [], close


def _average_linkage(matrix: NDArray[np.float32], threshold: float) -> NDArray[np.intp]:
    """(N,) labels from 0. `fcluster` includes its bound, which is therefore the largest number below `threshold`."""
    condensed = squareform(matrix, checks=False)
    return fcluster(linkage(condensed, "average"), np.nextafter(threshold, 0), "distance").astype(np.intp) - 1


def _rows(questions: Sequence[str]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The distances on and above the diagonal, R rows at a time: their first one r, and (R, N - r) from column r on."""
    split = [question.split() for question in questions]
    same = _same_words(split)
    orders = _orders(split)
    length, weights = _weights(np.array([len(words) for words in split], np.int64))
    step = max(1, PAIRS_AT_ONCE // max(1, len(split)))
    for start in range(0, len(split), step):
        rows = slice(start, start + step)
        product = orders[0].shared(rows).astype(np.float64)
        for order in orders[1:]:
            product *= np.maximum(order.shared(rows), NO_MATCH)
        distance = 1 - np.sqrt(np.sqrt(product)) * weights[np.ix_(length[rows], length[start:])]
        distance[same[rows, None] == same[start:]] = 0
        yield start, distance.clip(0, 1).astype(np.float32)


def _same_words(split: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """(N,) equal numbers for questions of the same words; each question without words has its own."""
    first: dict[tuple[str, ...], int] = {}
    return np.array([first.setdefault(tuple(words), i) if words else i for i, words in enumerate(split)], np.int64)


def _weights(lengths: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """What depends on the lengths alone: (N,) places in the table, and the table (U, U).

    BLEU of a against b is exp(min(0, 1 - |b| / |a|)) (product over n of matches / max(1, |a| - n + 1))^(1/4), and the
    matches are the same in both directions. The table holds the mean of what they are multiplied by.
    """
    distinct, place = np.unique(lengths, return_inverse=True)
    words = np.maximum(1, distinct).astype(np.float64)
    brevity = np.exp(np.minimum(0, 1 - words / words[:, None]))
    possible = np.prod([np.maximum(1, words - n + 1) for n in ORDERS], axis=0)
    one_way = brevity / np.sqrt(np.sqrt(possible))[:, None]
    return place, (one_way + one_way.T) / 2


class _Order(NamedTuple):
    """Which n-grams of one order the questions hold. The k-th occurrence of an n-gram is a column of its own, so that
    two rows have as many columns in common as clipped counting finds matches."""

    rare: sparse.csr_array
    """(N, F) 0 or 1"""
    common: NDArray[np.float32]
    """(N, G) 0 or 1"""

    def shared(self, rows: slice) -> NDArray[np.float32]:
        """The matches of `rows` with every question from their first one on."""
        later = slice(rows.start, None)
        matches: NDArray[np.float32] = (self.rare[rows] @ self.rare[later].T).toarray()
        matches += self.common[rows] @ self.common[later].T
        return matches


def _orders(split: Sequence[Sequence[str]]) -> list[_Order]:
    vocabulary: dict[str, int] = {}
    words = np.array([vocabulary.setdefault(word, len(vocabulary)) for text in split for word in text], np.int64)
    question = np.repeat(np.arange(len(split)), [len(text) for text in split])
    orders, gram = [], np.zeros_like(words)
    for n in ORDERS:
        # The n-gram that begins at each word, numbered anew so that the product stays small.
        starts = max(0, len(words) - n + 1)
        longer = gram[:starts] * len(vocabulary) + words[n - 1 :]
        gram = np.unique(longer, return_inverse=True)[1]
        whole = question[:starts] == question[n - 1 :]
        orders.append(_order(question[:starts][whole], gram[whole], len(split)))
    return orders


def _order(question: NDArray[np.int64], gram: NDArray[np.int64], questions: int) -> _Order:
    """From the n-grams, (T,), and the questions that they are in, (T,)."""
    by_gram = np.lexsort((gram, question))
    question, gram = question[by_gram], gram[by_gram]
    place = np.arange(len(gram))
    first = (np.diff(question, prepend=-1) != 0) | (np.diff(gram, prepend=-1) != 0)
    occurrence = place - np.maximum.accumulate(np.where(first, place, 0))
    keys = gram * (1 + occurrence.max(initial=0)) + occurrence
    column, holders = np.unique(keys, return_inverse=True, return_counts=True)[1:]
    shared = holders > 1
    common = shared & (holders > COMMON * questions)

    def matrix(kept: NDArray[np.bool_]) -> sparse.csr_array:
        chosen = kept[column]
        places = question[chosen], (np.cumsum(kept) - 1)[column[chosen]]
        return sparse.csr_array((np.ones(len(places[0]), np.float32), places), (questions, np.count_nonzero(kept)))

    return _Order(rare=matrix(shared & ~common), common=matrix(common).toarray())
