"""The distances are NLTK's BLEU, the clusters scikit-learn's, and neither depends on how they are computed."""

from __future__ import annotations

import time
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import AgglomerativeClustering

from components.r_zero import repetition
from components.r_zero.repetition import clusters, distances, shares

METHOD = SmoothingFunction().method1
few_words = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=9)
"""Texts of three words: repeated words, short texts, empty ones, equal texts, equal distances."""


def nltk_distance(a: str, b: str) -> float:
    """The documented distance, each direction by NLTK."""
    x, y = a.split(), b.split()
    if x == y and x:
        return 0.0
    there, back = (sentence_bleu([r], h, smoothing_function=METHOD) for r, h in ((x, y), (y, x)))
    return 1 - (there + back) / 2


def nltk_distances(questions: list[str]) -> NDArray[np.float64]:
    matrix = np.zeros((len(questions),) * 2)
    for i, j in zip(*np.triu_indices(len(questions), 1), strict=True):
        matrix[i, j] = matrix[j, i] = nltk_distance(questions[i], questions[j])
    return matrix


def variations(count: int, templates: int, length: int, seed: int) -> list[str]:
    """Questions of few templates in which some words are exchanged, so that distances lie on both sides of 0.5."""
    rng = np.random.default_rng(seed)
    words = [f"w{int(k)}" for k in rng.zipf(1.5, templates * length).clip(max=500)]
    questions = []
    for _ in range(count):
        first = int(rng.integers(templates)) * length
        text = words[first : first + int(rng.integers(length // 2, length + 1))]
        for place in rng.integers(len(text), size=rng.integers(length // 4)):
            text[place] = str(rng.integers(50))
        questions.append(" ".join(text))
    return questions


def partition(labels: NDArray[np.intp]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


@given(few_words)
@settings(max_examples=40, deadline=None)
def test_distances_are_nltks(texts: list[str]) -> None:
    """A penalty by another measure than the paper's is another method. Clipped counts, brevity, smoothing and texts
    under four words are where implementations of BLEU differ; all occur among few short words."""
    expected = nltk_distances(texts)
    np.testing.assert_allclose(distances(texts), expected, atol=1e-6)


def test_clusters_are_scikit_learns_on_nltks_distances() -> None:
    """The promise is the same clusters a hundred times faster. Both take the texts in the same order, for of equal
    distances average linkage joins any two first."""
    questions = sorted(variations(130, templates=10, length=12, seed=1))
    expected = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=0.5
    ).fit(nltk_distances(questions).astype(np.float32))
    found = partition(clusters(questions))
    assert found == partition(expected.labels_)
    assert 10 < len(found) < 100
    assert max(map(len, found)) > 5


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_linked_parts_hold_whole_clusters(threshold: float, seed: int) -> None:
    """Only linked parts are clustered; were one cut wrongly, a repeated question would be paid as a new one."""
    questions = sorted(variations(300, templates=10, length=20, seed=seed))
    tree = linkage(squareform(distances(questions), checks=False), "average")
    expected = fcluster(tree, np.nextafter(threshold, 0), "distance")
    assert partition(clusters(questions, threshold)) == partition(expected)


def test_it_does_not_matter_how_many_rows_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch larger than the tests' is computed in several blocks, and with other n-grams multiplied densely."""
    questions = variations(150, templates=5, length=20, seed=3)
    whole, labels = distances(questions), partition(clusters(questions))
    for at_once, common in ((300, 0.0), (1000, 0.02), (7000, 1.0)):
        monkeypatch.setattr(repetition, "PAIRS_AT_ONCE", at_once)
        monkeypatch.setattr(repetition, "COMMON", common)
        np.testing.assert_array_equal(distances(questions), whole)
        assert partition(clusters(questions)) == labels


@given(few_words, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_batch_does_not_matter(texts: list[str], random: Random) -> None:
    """Where a response stands in a batch is chance; its reward must not be. Equal distances abound here."""
    order = list(range(len(texts)))
    random.shuffle(order)
    shuffled = shares([texts[i] for i in order])
    np.testing.assert_array_equal(shuffled, shares(texts)[order])


@given(few_words)
@settings(max_examples=40, deadline=None)
def test_distances_are_distances(texts: list[str]) -> None:
    """scipy takes anything for a distance matrix, and clusters nonsense without a word."""
    matrix = distances(texts)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert not matrix.diagonal().any()
    assert ((matrix >= 0) & (matrix <= 1)).all()


def test_shares_of_a_batch_by_hand() -> None:
    """Four copies in a batch of ten are penalised by 0.4 each; responses without a question are no repetition."""
    copies = ["A train goes 60 km in 40 minutes. How fast is it?"] * 3
    batch = [*copies, "", "How many primes are below one hundred?", "", "  ", "x", copies[0].replace(" ", "\n"), "y"]
    assert shares(batch).tolist() == [0.4, 0.4, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.1]


@pytest.mark.parametrize("text", ["12+3*4=?", "Compute 12+3.", "What is 12+3?"])
def test_short_repetitions_are_repetitions(text: str) -> None:
    """BLEU of a text under four words with itself is 0.18 to 0.56. By that alone a challenger that says `12+3*4=?` all
    day would repeat nothing."""
    assert 1 - sentence_bleu([text.split()], text.split(), smoothing_function=METHOD) > 0.4
    assert shares([text, text, "Name a number."]).tolist() == [2 / 3, 2 / 3, 1 / 3]


def test_empty_and_single_batches() -> None:
    """The first batch of an untrained challenger may hold no question at all."""
    assert distances([]).shape == (0, 0)
    assert shares([]).shape == (0,)
    assert shares([""]).tolist() == [1.0]
    assert shares(["", " ", "\n"]).tolist() == [1 / 3] * 3
    np.testing.assert_array_equal(distances(["", ""]), 1 - np.eye(2))


def test_a_distance_at_the_threshold_does_not_join() -> None:
    """As in scikit-learn; with another reading, two questions at exactly the bound change their reward."""
    pair = ["a b", "c d"]
    assert distances(pair)[0, 1] == 1
    assert len(partition(clusters(pair, 1.0))) == 2
    near = ["a b c d e", "a b c d f"]
    bound = float(distances(near)[0, 1])
    assert len(partition(clusters(near, bound))) == 2
    assert len(partition(clusters(near, bound + 1e-3))) == 1


def test_hostile_texts_take_no_time() -> None:
    """One endless response must not hold up a batch: time is linear in the words, whatever they are."""
    hostile = [
        "a " * 50_000, " ".join(map(str, range(50_000))), "x" * 200_000, "\ud800 \x00 \u202e 𝕏", "a " * 49_999,
    ]  # fmt: skip
    started = time.process_time()
    assert partition(clusters(hostile)) == {frozenset({0, 4}), frozenset({1}), frozenset({2}), frozenset({3})}
    assert time.process_time() - started < 2
