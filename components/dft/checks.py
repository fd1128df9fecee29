"""What a chat must be to be trained on: its turns, its text, its length, and that it is neither copied nor held out.

A row is judged in steps, the cheap ones first, and by no further step once one has refused it. Every check takes time
in proportion to the text; of each accepted chat about a kilobyte is kept beside the chat itself.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.dft.reading import Row
from components.language.boxed import boxed_answer, canonical
from components.store.errors import OrreryError
from data_contracts.base import Contract
from data_contracts.chat import ChatExample, Role
from data_contracts.chat_reasons import chat_finding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Script = Literal[
    "Latin", "Greek", "Cyrillic", "Han", "Hiragana", "Katakana", "Hangul", "Arabic", "Hebrew", "Devanagari", "Thai"
]  # fmt: skip
"""Names of Unicode's property Script"""
Problem = tuple[str, str]
"""A reason code and a message"""
Hashes = NDArray[np.uint64]

_DAMAGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
_CJK = r"\u3040-\u30ff\u3400-\u9fff"
_TOKEN = re.compile(rf"\d+(?:[.,]\d+)*|\\[a-z]+|[{_CJK}]|[^\W\d_{_CJK}]+|[^\w\s.,;:?\"'`’‘“”…$\\{{}}]")
"""Numbers, LaTeX commands, words (in scripts without spaces: characters) and symbols; no punctuation, no braces"""

BARE_TOKENS = 8
MOSTLY_BARE = 0.5
"""With more bare answers than this DFT lost: Natural Questions, 31.2 before, 30.1 after it, 36.6 after SFT (its paper).
The tokens of an unknown fact are improbable, and DFT's weight leaves them so."""
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


class CheckConfig(Contract):
    """What a chat must be to be trained on."""

    max_length: int = Field(default=2048, ge=8, description="tokens of a chat; longer ones are refused, not cut")
    scripts: tuple[Script, ...] = Field(default=("Latin", "Greek"), min_length=1, description="that are expected")
    max_unexpected: float = Field(default=0.05, ge=0, le=1, description="largest share of letters of other scripts")
    near_duplicate: float = Field(default=0.8, gt=0, le=1, description="least similarity of copies; see Seen")
    overlap: float = Field(default=0.5, gt=0, le=1, description="least share of a prompt that is a leak; see HeldOut")


@dataclass(frozen=True)
class Checked:
    """What became of every row, in the rows' order."""

    accepted: list[Row]
    """their findings are only information"""
    quarantined: list[Row]
    """each with at least one finding that is an error"""
    counts: dict[str, int]
    """rows by reason code, most frequent first"""


def check(
    rows: Iterable[Row], config: CheckConfig, held_out: Iterable[Row], tokenizer: PreTrainedTokenizerFast
) -> Checked:
    """Judge `rows`, to be trained on, against each other and against `held_out`, which the model is judged by.

    Of chats that repeat each other the first is kept; a refused chat refuses no other. Apart from that rows are judged
    one by one. So in another order one of exact repetitions is left too; of a chain of near ones others may be.
    Raises OrreryError if a held-out row could not be read: then nobody knows what is held out.
    """
    judge = _Judge(config, HeldOut(held_out, config.overlap), tokenizer)
    accepted: list[Row] = []
    quarantined: list[Row] = []
    counts: Counter[str] = Counter()
    for row in rows:
        found = tuple(chat_finding(code, message, row.where) for code, message in judge.problems(row))
        judged = replace(row, findings=(*row.findings, *found))
        bad = any(finding.severity == "error" for finding in judged.findings)
        (quarantined if bad else accepted).append(judged)
        counts.update({finding.code for finding in judged.findings})
    return Checked(accepted, quarantined, dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


class _Judge:
    """Judges rows one after the other; it remembers the ones that it accepted."""

    def __init__(self, config: CheckConfig, held_out: HeldOut, tokenizer: PreTrainedTokenizerFast) -> None:
        self._config, self._held_out, self._tokenizer = config, held_out, tokenizer
        self._seen = Seen(config.near_duplicate)

    def problems(self, row: Row) -> list[Problem]:
        example = row.example
        if example is None:
            return []
        turns = turns_of(example)
        steps = (
            lambda: check_turns(example),
            lambda: check_text(example, self._config),
            lambda: check_tokens(example, self._config, self._tokenizer),
            lambda: self._held_out.find(turns),
            lambda: self._seen.admit(turns, row.where),
        )
        for step in steps:
            if found := list(step()):
                return found
        return list(check_answer(example))


def check_turns(example: ChatExample) -> Iterator[Problem]:
    """At most one system message, first; then user and assistant in turn; the assistant last; nobody silent."""
    system = example.messages[0].role == "system"
    for position, message in enumerate(example.messages[system:], start=int(system)):
        wanted = "assistant" if (position - system) % 2 else "user"
        if message.role != wanted:
            yield "language.role-order", f"message {position} is the {message.role}'s, the {wanted}'s is due"
            break
    else:
        if example.messages[-1].role != "assistant":
            yield "language.no-answer", f"the last of {len(example.messages)} messages is not the assistant's"
    for position, message in enumerate(example.messages):
        if not message.content.strip():
            yield "language.empty-message", f"message {position}, the {message.role}'s, is empty"


def check_text(example: ChatExample, config: CheckConfig) -> Iterator[Problem]:
    """Characters that no text holds, and letters of scripts that are not expected."""
    for position, message in enumerate(example.messages):
        if damage := _DAMAGE.search(message.content):
            place = f"character {damage.start()} of message {position}"
            yield "language.damaged-text", f"{place} is U+{ord(damage[0]):04X}"
            break
    text = "".join(message.content for message in example.messages)
    if text.isascii() and "Latin" in config.scripts:
        return
    every, unexpected = (pattern.findall(text) for pattern in _letters(config.scripts))
    if len(unexpected) > config.max_unexpected * len(every):
        share = f"{len(unexpected) / len(every):.0%} of {len(every)} letters"
        examples = "".join(unexpected[:10])
        yield "language.unexpected-script", f"{share} are not {' or '.join(config.scripts)}, as {examples!r}"


@lru_cache
def _letters(scripts: tuple[Script, ...]) -> tuple[Any, Any]:
    """Patterns of all letters, and of those that belong to other scripts only."""
    import regex  # with transformers only; recipes read CheckConfig without either

    expected = "".join(rf"\p{{Script={script}}}" for script in (*scripts, "Common", "Inherited"))
    return regex.compile(r"\p{Letter}"), regex.compile(rf"[\p{{Letter}}--[{expected}]]", regex.V1)


def check_tokens(example: ChatExample, config: CheckConfig, tokenizer: PreTrainedTokenizerFast) -> Iterator[Problem]:
    """Whether it can be tokenised to be trained on, in full."""
    from components.language.tokenise import Refused, refuse  # not above: recipes read CheckConfig without torch

    try:
        refuse(example, tokenizer, config.max_length)
    except Refused as refused:
        yield refused.code, str(refused)


def check_answer(example: ChatExample) -> Iterator[Problem]:
    """Whether the response boxes the known answer, as text; whether other texts are equal the grader says."""
    boxed = boxed_answer(example.response)
    if example.answer and boxed is not None and _plain(boxed) != _plain(example.answer):
        yield "language.answer-disagrees", f"the response boxes {boxed[:60]!r}, the answer is {example.answer[:60]!r}"


def is_bare(example: ChatExample) -> bool:
    """Whether the response is an answer alone, `BARE_TOKENS` or fewer: a fact, or a result without its way there."""
    return len(_TOKEN.findall(example.response)) <= BARE_TOKENS


def _plain(answer: str) -> str:
    return canonical(answer) or "".join(answer.split())


class _Crc(dict[str, int]):
    """The CRC-32 of a token, computed when it is first seen: texts repeat their words."""

    def __missing__(self, token: str) -> int:
        if len(self) >= REMEMBERED:
            self.clear()
        self[token] = value = crc32(token.encode())
        return value


_crc = _Crc()

Turn = tuple[Role, list[str]]
"""Who speaks, and the tokens said"""


def turns_of(example: ChatExample) -> list[Turn]:
    """What is compared of a chat: case, spacing and the punctuation of sentences and of LaTeX do not count."""
    # Not NFKC, which makes 22 of 2².
    return [(m.role, _TOKEN.findall(unicodedata.normalize("NFC", m.content).casefold())) for m in example.messages]


@dataclass(frozen=True)
class Words:
    """A text as comparisons see it."""

    hashes: Hashes
    """(W,) one per token"""
    quantities: str
    """its numbers and symbols, in order: what problems of one template differ in"""
    text: str
    """all tokens, turn by turn"""

    @staticmethod
    def of(turns: Iterable[list[str]]) -> Words:
        said = list(turns)
        tokens = said[0] if len(said) == 1 else [token for turn in said for token in turn]
        hashes = np.array([_crc[token] for token in tokens], np.uint64)
        quantities = "".join([f" {token} " for token in tokens if not token.isalpha()])
        return Words(hashes, quantities, "\n".join([" ".join(turn) for turn in said]))

    @property
    def digest(self) -> bytes:
        return hashlib.blake2b(self.text.encode(), digest_size=16).digest()

    def grams(self, longest: int) -> Iterator[tuple[int, Hashes]]:
        """n and a hash of every run of n tokens, (W - n + 1,), for n = 1 .. `longest`, as far as there are tokens."""
        total = np.zeros(len(self.hashes) + 1, np.uint64)
        for n in range(1, min(longest, len(self.hashes)) + 1):
            total = total[:-1] * _MULTIPLIER + self.hashes[n - 1 :]
            yield n, total

    @property
    def shingles(self) -> Hashes:
        """(S,) hashes of its trigrams; of the whole text if it is shorter."""
        return [np.zeros(1, np.uint64), *(total for _, total in self.grams(SHINGLE))][-1]


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

    def admit(self, turns: list[Turn], where: str) -> Iterator[Problem]:
        """The chat that `turns` repeat; if there is none, they are remembered themselves."""
        words = Words.of(said for role, said in turns if role != "system")
        digest = words.digest
        if (number := self._exact.get(digest)) is not None:
            yield "duplicate.same-chat", f"it repeats {self._chats[number][1]}"
            return
        bands = _bands(words)
        for number in sorted({self._bands[key] for key in bands if key in self._bands}):
            text, place = self._chats[number]
            similarity = _similarity(words, Words.of(turn.split() for turn in text.split("\n")))
            if similarity >= self._similarity:
                yield "duplicate.near-chat", f"it shares {similarity:.0%} of its trigrams with {place}"
                return
        number = len(self._chats)
        self._chats.append((words.text, where))
        self._exact[digest] = number
        for key in bands:
            self._bands.setdefault(key, number)


def _similarity(one: Words, other: Words) -> float:
    """Jaccard similarity of the trigrams; 0 if the numbers differ."""
    if one.quantities != other.quantities:
        return 0.0
    ours, theirs = set(one.shingles.tolist()), set(other.shingles.tolist())
    return len(ours & theirs) / len(ours | theirs)


def _bands(words: Words) -> list[int]:
    """A key per band of the MinHash signature, which chats with other numbers don't share."""
    signature = (words.shingles[:, None] * _FACTORS + _OFFSETS).min(axis=0) >> np.uint64(32)
    keys = _BANDS + np.uint64(crc32(words.quantities.encode()))
    for row in signature.reshape(ROWS, BANDS):
        keys = keys * _MULTIPLIER + row
    return keys.tolist()


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

    def _add(self, words: Words, where: str) -> None:
        if words.digest in self._exact:
            return
        self._exact[words.digest] = where
        n = max((n for n in NGRAMS if 3 * n <= len(words.hashes)), default=NGRAMS[0])
        for _, keys in _keys(words, {n}):
            for key in keys:
                self._grams.setdefault(n, {}).setdefault(key, []).append(len(self._prompts))
            self._prompts.append(_Prompt(where, words.quantities, n, len(keys)))

    def find(self, turns: list[Turn]) -> Iterator[Problem]:
        words = _asked(turns)
        if (place := self._exact.get(words.digest)) is not None:
            yield "duplicate.held-out-prompt", f"the prompt is that of {place}"
            return
        shared: Counter[int] = Counter()
        for n, keys in _keys(words, self._grams.keys()):
            postings = self._grams[n]
            for key in keys & postings.keys():
                shared.update(postings[key])
        for number, count in shared.most_common():
            prompt = self._prompts[number]
            if count >= self._overlap * prompt.size and prompt.quantities in words.quantities:
                share = f"{count} of {prompt.size} {prompt.n}-grams"
                yield "duplicate.held-out-overlap", f"the prompt holds {share} of {prompt.where}"
                return


def _asked(turns: list[Turn]) -> Words:
    return Words.of(said for role, said in turns if role == "user")


def _keys(words: Words, lengths: Collection[int]) -> Iterator[tuple[int, set[int]]]:
    """Each n of `lengths` and the distinct n-grams; those of a short n are tied to the prompt's numbers and symbols."""
    tie = np.uint64(crc32(words.quantities.encode()))
    for n, grams in words.grams(max(lengths, default=0)):
        if n in lengths:
            yield n, set((grams + tie if n < NGRAMS[-1] else grams).tolist())
