"""Which kind of token a training makes less probable: words that carry little meaning, punctuation, mathematics, ...

The DFT paper (arXiv 2508.05629, Sec. 4.3) says that its lowest bin holds function words and punctuation; here that is a
number, for any tokenizer: a token's class is that of the word or symbol in which it begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from data_contracts.interval import Z_95
from data_contracts.scores import ClassChange, Mean

FUNCTION, STYLE, WORD = "function words", "words of style", "other words"
MATHEMATICS = "mathematics"
"""Digits, operators, brackets and LaTeX's commands"""
PUNCTUATION, SPACE, END = "punctuation", "spaces", "end token"
CLASSES = (FUNCTION, STYLE, PUNCTUATION, MATHEMATICS, WORD, SPACE, END)
LOW = 0.1
"""Below it a token is in the lowest bin."""

_FUNCTION_WORDS = """
a an the this that these those some any each every no all both of in on at by for from to with without into onto over
under between among through about as than and or but nor if when while because since until unless though i you he she
it they me him her us them my your his its our their mine who whom whose which what there here is are was were be been
being am do does did have has had having can could will would shall should may might must not how many much more most
"""
"""Closed classes of English: determiners, prepositions, conjunctions, pronouns, auxiliaries"""
_STYLE_WORDS = """
first second third next then finally last lastly now begin start begins starts step steps so therefore thus hence
consequently we let lets go get gets got give gives given think know note notice recall remember see okay well answer
result solution conclude conclusion obtain find compute calculate evaluate simplify follows together leaves makes hard
simple clearly indeed again just
"""
"""What tells how a solution is told, and could be left out or said otherwise"""
_KINDS = dict.fromkeys(_FUNCTION_WORDS.split(), FUNCTION) | dict.fromkeys(_STYLE_WORDS.split(), STYLE)
_PIECES = re.compile(
    r"(?P<mathematics>\d+(?:[.,]\d+)*|\\[A-Za-z]+|[-+*/%=<>^|&$(){}\[\]×÷·√±≤≥≠])|(?P<word>[^\W\d_]+(?:['’][a-z]+)?)|"
    r"(?P<space>\s+)|(?P<punctuation>[^\w\s]|_)"
)


def classes_of(answers: Sequence[NDArray[np.int32]], tokenizer: PreTrainedTokenizerFast) -> NDArray[np.int64]:
    """(N,) the index into CLASSES of every token of all `answers`, in their order."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}

    @cache
    def text(token: int) -> str:
        return "" if token in special else str(tokenizer.decode([token]))

    found: list[int] = []
    for answer in answers:
        pieces = [text(int(token)) for token in answer]
        kinds = _of_characters("".join(pieces))
        place = 0
        for piece in pieces:
            begins = place + len(piece) - len(piece.lstrip())  # pieces often begin with the space before a word
            found.append(CLASSES.index(END if not piece else kinds[min(begins, place + len(piece) - 1)]))
            place += len(piece)
    return np.array(found, np.int64)


def _of_characters(text: str) -> list[str]:
    """The class of each character."""
    kinds = [WORD] * len(text)
    for found in _PIECES.finditer(text):
        match found.lastgroup:
            case "word":
                said = re.split("['’]", found[0].lower())[0]  # let's, we're
                kind = _KINDS.get(said, WORD)
            case "mathematics":
                kind = MATHEMATICS
            case "space":
                kind = SPACE
            case _:
                kind = PUNCTUATION
        kinds[found.start() : found.end()] = [kind] * len(found[0])
    return kinds


def changes(
    classes: NDArray[np.int64], chat: NDArray[np.int64], was: NDArray[np.float64], now: NDArray[np.float64]
) -> dict[str, ClassChange]:
    """What became of each class, of those that occur. All arguments (N,): class, chat, and log p before and after."""
    low = np.exp(now) < LOW
    found = {}
    for number, name in enumerate(CLASSES):
        own = classes == number
        if own.any():
            found[name] = ClassChange(
                tokens=int(own.sum()),
                change=clustered((now - was)[own], chat[own]),
                fell=_share((now < was)[own], chat[own]),
                low_before=float((np.exp(was)[own] < LOW).mean()),
                low_after=_share(low[own], chat[own]),
                of_low=float((own & low).sum() / max(1, low.sum())),
            )
    return found


def clustered(values: NDArray[np.float64], cluster: NDArray[np.int64]) -> Mean:
    """The mean of `values`, with the normal 95 % interval over clusters: tokens of one chat are no independent draws.

    (Ratio estimator: sum of the clusters' sums over sum of their sizes; Cochran, Sampling Techniques, Sec. 2.11.)
    """
    _, place = np.unique(cluster, return_inverse=True)
    sizes, sums = np.bincount(place), np.bincount(place, weights=values)
    mean, many = float(values.mean()), len(sizes)
    if many < 2:
        return Mean(value=mean, low=float(values.min()), high=float(values.max()))
    spread = float(((sums - mean * sizes) ** 2).sum()) * many / (many - 1)
    half = Z_95 * spread**0.5 / len(values)
    return Mean(value=mean, low=mean - half, high=mean + half)


def _share(flags: NDArray[np.bool_], cluster: NDArray[np.int64]) -> Mean:
    found = clustered(flags.astype(float), cluster)
    return Mean(value=found.value, low=max(0.0, found.low), high=min(1.0, found.high))


def over_seeds(found: Iterable[dict[str, ClassChange]]) -> dict[str, ClassChange]:
    """The mean of several trainings, each with its interval; the intervals' ends are averaged, too."""
    every = list(found)
    names = [name for name in CLASSES if all(name in one for one in every)] if every else []
    return {name: _average([one[name] for one in every]) for name in names}


def _average(changes_: Sequence[ClassChange]) -> ClassChange:
    def mean(values: Iterable[float]) -> float:
        return float(np.mean(list(values)))

    def of(means: Iterable[Mean]) -> Mean:
        columns = np.mean([(m.value, m.low, m.high) for m in means], axis=0).tolist()
        return Mean(value=columns[0], low=columns[1], high=columns[2])

    return ClassChange(
        tokens=changes_[0].tokens,
        change=of(c.change for c in changes_),
        fell=of(c.fell for c in changes_),
        low_before=mean(c.low_before for c in changes_),
        low_after=of(c.low_after for c in changes_),
        of_low=mean(c.of_low for c in changes_),
    )
