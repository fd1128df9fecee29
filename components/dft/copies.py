"""Which chats repeat each other, and which hold a prompt that models are judged by.

Texts are compared by hashes of their word n-grams. Those of many chats are computed together, laid end to end: NumPy's
calls take longer than what they do for one chat.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from components.dft.reading import Row
from components.store.errors import OrreryError
from data_contracts.chat import ChatExample, Role

Problem = tuple[str, str]
"""A reason code and a message"""
Hashes = NDArray[np.uint64]

_CJK = r"\u3040-\u30ff\u3400-\u9fff"
TOKEN = re.compile(rf"\d+(?:[.,]\d+)*|\\[a-z]+|[{_CJK}]|[^\W\d_{_CJK}]+|[^\w\s.,;:?\"'`’‘“”…$\\{{}}]")
"""Numbers, LaTeX commands, words (in scripts without spaces: characters) and symbols; no punctuation, no braces"""

SHINGLE = 3
BANDS, ROWS = 8, 4
NGRAMS = (3, 5, 8, 13)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_DRAWN = np.random.default_rng(0)
_FACTORS = _DRAWN.integers(0, 1 << 63, BANDS * ROWS, np.uint64) * np.uint64(2) + np.uint64(1)
_OFFSETS = _DRAWN.integers(0, 1 << 63, BANDS * ROWS, np.uint64)
_BANDS = np.arange(BANDS, dtype=np.uint64)
REMEMBERED = 1 << 20
"""Tokens whose hash is kept, about 100 MB of them at most"""


class _Crc(dict[str, int]):
    """The CRC-32 of a token, computed when it is first seen: texts repeat their words."""

    def __missing__(self, token: str) -> int:
        if len(self) >= REMEMBERED:
            self.clear()
        self[token] = value = crc32(token.encode())
        return value


_crc = _Crc()


class Turn(NamedTuple):
    """What somebody says, as comparisons see it."""

    role: Role
    hashes: list[int]
    """one per token"""
    quantities: str
    """its numbers and symbols, in order: what problems of one template differ in"""
    text: str
    """its tokens"""

    @classmethod
    def of(cls, role: Role, tokens: Sequence[str]) -> Turn:
        hashes = list(map(_crc.__getitem__, tokens))
        return cls(role, hashes, "".join([f" {token} " for token in tokens if not token.isalpha()]), " ".join(tokens))


def turns_of(example: ChatExample) -> list[Turn]:
    """What is compared of a chat: case, spacing and the punctuation of sentences and of LaTeX do not count."""
    # Not NFKC, which makes 22 of 2².
    return [
        Turn.of(m.role, TOKEN.findall(unicodedata.normalize("NFC", m.content).casefold())) for m in example.messages
    ]


@dataclass(frozen=True)
class Words:
    """Some turns of a chat together."""

    hashes: list[int]
    quantities: str
    text: str
    """turn by turn"""

    @classmethod
    def of(cls, turns: Iterable[Turn]) -> Words:
        said = list(turns)
        if len(said) == 1:
            return cls(*said[0][1:])
        return cls(
            [value for turn in said for value in turn.hashes], "".join([turn.quantities for turn in said]),
            "\n".join([turn.text for turn in said]),
        )  # fmt: skip

    @property
    def digest(self) -> bytes:
        return hashlib.blake2b(self.text.encode(), digest_size=16).digest()

    @property
    def tie(self) -> int:
        """A hash of the numbers and symbols."""
        return crc32(self.quantities.encode())

    @property
    def shingles(self) -> Hashes:
        """(S,) hashes of its trigrams; of the whole text if it is shorter."""
        array = np.array(self.hashes, np.uint64)
        return [np.zeros(1, np.uint64), *(total for _, total in _grams(array, SHINGLE))][-1]


def _grams(hashes: Hashes, longest: int) -> Iterator[tuple[int, Hashes]]:
    """n and a hash of every run of n tokens, (W - n + 1,), for n = 1 .. `longest`, as far as there are tokens."""
    total = np.zeros(len(hashes) + 1, np.uint64)
    for n in range(1, min(longest, len(hashes)) + 1):
        total = total[:-1] * _MULTIPLIER + hashes[n - 1 :]
        yield n, total


class Chat(NamedTuple):
    """A chat to be admitted: its words, and a key per band of its MinHash signature."""

    words: Words
    bands: list[int]


class Seen:
    """The chats accepted so far, to find one that repeats another: exactly, or nearly.

    Near: the same numbers and symbols in the same order, so that problems of one template stay apart, and a Jaccard
    similarity of word trigrams of at least `similarity`. Candidates come from MinHash with 32 functions in 8 bands of
    4 (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, Sec. 3.4): a pair of similarity s shares
    a band with probability 1 - (1 - s^4)^8, which is 0.985 at s = 0.8 and 0.9998 at 0.9. Of a band only the first chat
    is compared, exactly, which keeps the time linear. System messages do not count: data sets repeat them.
    """

    def __init__(self, similarity: float) -> None:
        self._similarity = similarity
        self._chats: list[tuple[str, str]] = []
        self._exact: dict[bytes, int] = {}
        self._bands: dict[int, int] = {}

    def of(self, chats: Sequence[Sequence[Turn]]) -> list[Chat]:
        """What `admit` takes, for many chats together."""
        words = [Words.of(turn for turn in turns if turn.role != "system") for turns in chats]
        return [Chat(*pair) for pair in zip(words, _bands(words), strict=True)]

    def admit(self, chat: Chat, where: str) -> list[Problem]:
        """The chat that this one repeats; if there is none, it is remembered."""
        words, digest = chat.words, chat.words.digest
        if (number := self._exact.get(digest)) is not None:
            return [("duplicate.same-chat", f"it repeats {self._chats[number][1]}")]
        for number in sorted({self._bands[key] for key in chat.bands if key in self._bands}):
            text, place = self._chats[number]
            similarity = _similarity(words, Words.of(Turn.of("user", turn.split()) for turn in text.split("\n")))
            if similarity >= self._similarity:
                return [("duplicate.near-chat", f"it shares {similarity:.0%} of its trigrams with {place}")]
        number = len(self._chats)
        self._chats.append((words.text, where))
        self._exact[digest] = number
        for key in chat.bands:
            self._bands.setdefault(key, number)
        return []


def _similarity(one: Words, other: Words) -> float:
    """Jaccard similarity of the trigrams; 0 if the numbers differ."""
    if one.quantities != other.quantities:
        return 0.0
    ours, theirs = set(one.shingles.tolist()), set(other.shingles.tolist())
    return len(ours & theirs) / len(ours | theirs)


def _bands(chats: Sequence[Words]) -> list[list[int]]:
    """Of each chat a key per band of its MinHash signature, which chats with other numbers don't share."""
    if not chats:
        return []
    shingles = [words.shingles for words in chats]
    starts = np.cumsum([0, *(len(of_one) for of_one in shingles[:-1])])
    together = np.concatenate(shingles)
    least = np.stack([np.minimum.reduceat(together * a + b, starts) for a, b in zip(_FACTORS, _OFFSETS, strict=True)])
    ties = np.array([words.tie for words in chats], np.uint64)
    keys = _BANDS[:, None] + ties
    for row in (least >> np.uint64(32)).reshape(ROWS, BANDS, -1):
        keys = keys * _MULTIPLIER + row
    of_chats: list[list[int]] = keys.T.tolist()
    return of_chats


@dataclass(frozen=True)
class _Prompt:
    """A held-out prompt: where it is from, its numbers, and how many n-grams of which length it has."""

    where: str
    quantities: str
    n: int
    size: int


class HeldOut:
    """The prompts that the model is judged by, to find one in what it is trained on. Only users' turns are compared.

    A prompt leaks if another is equal to it, or holds at least `overlap` of its word n-grams. n is 13, as is common
    (Brown et al. 2020, arXiv 2005.14165, App. C), or the longest of 8, 5 and 3 that is at most a third of a shorter
    prompt's words: one changed word then leaves half of the n-grams whole. Problems of one template are no leak: the
    numbers and symbols must be the same too, and in a longer prompt (n = 13) they must occur as they are, in a row.
    """

    def __init__(self, rows: Iterable[Row], overlap: float) -> None:
        self._overlap = overlap
        self._exact: dict[bytes, str] = {}
        self._prompts: list[_Prompt] = []
        self._grams: dict[int, dict[int, list[int]]] = {}
        for row in rows:
            if row.example is None:
                raise OrreryError(f"held-out row {row.where} can't be read: {row.findings[0].message}; mend it first")
            self._add(_asked(turns_of(row.example)), row.where)
        self._sorted = {n: np.array(sorted(postings), np.uint64) for n, postings in self._grams.items()}

    def _add(self, words: Words, where: str) -> None:
        if words.digest in self._exact:
            return
        self._exact[words.digest] = where
        n = max((n for n in NGRAMS if 3 * n <= len(words.hashes)), default=NGRAMS[0])
        keys = {key for _, _, of_prompt in _keys([words], [n]) for key in of_prompt.tolist()}
        for key in keys:
            self._grams.setdefault(n, {}).setdefault(key, []).append(len(self._prompts))
        if keys:
            self._prompts.append(_Prompt(where, words.quantities, n, len(keys)))

    def find(self, chats: Sequence[Sequence[Turn]]) -> list[list[Problem]]:
        """Of each chat, the held-out prompt that it holds."""
        asked = [_asked(turns) for turns in chats]
        shared = [Counter[int]() for _ in asked]
        for n, owner, keys in _keys(asked, self._grams.keys()):
            known = self._sorted[n]
            held = known[np.searchsorted(known, keys).clip(max=len(known) - 1)] == keys
            for chat, key in sorted(set(zip(owner[held].tolist(), keys[held].tolist(), strict=True))):
                shared[chat].update(self._grams[n][key])
        return [self._leak(*of_one) for of_one in zip(asked, shared, strict=True)]

    def _leak(self, words: Words, shared: Counter[int]) -> list[Problem]:
        """`shared`: of each held-out prompt, by its number, how many of its n-grams `words` have."""
        if (place := self._exact.get(words.digest)) is not None:
            return [("duplicate.held-out-prompt", f"the prompt is that of {place}")]
        for number, count in shared.most_common():
            prompt = self._prompts[number]
            if count >= self._overlap * prompt.size and prompt.quantities in words.quantities:
                share = f"{count} of {prompt.size} {prompt.n}-grams"
                return [("duplicate.held-out-overlap", f"the prompt holds {share} of {prompt.where}")]
        return []


def _asked(turns: Iterable[Turn]) -> Words:
    return Words.of(turn for turn in turns if turn.role == "user")


def _keys(texts: Sequence[Words], lengths: Collection[int]) -> Iterator[tuple[int, NDArray[np.int64], Hashes]]:
    """Each n of `lengths`, and the n-grams of all texts: (G,) whose each is, and (G,) hashes.

    Those of a short n are tied to the text's numbers and symbols.
    """
    hashes = np.array([value for words in texts for value in words.hashes], np.uint64)
    owner = np.repeat(np.arange(len(texts)), [len(words.hashes) for words in texts])
    ties = np.array([words.tie for words in texts], np.uint64)
    for n, grams in _grams(hashes, max(lengths, default=0)):
        if n in lengths:
            whole = owner[: len(grams)] == owner[n - 1 :]  # not from one text into the next
            of, keys = owner[: len(grams)][whole], grams[whole]
            yield n, of, keys + ties[of] if n < NGRAMS[-1] else keys
