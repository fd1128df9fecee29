"""What a chat must be to be trained on: its turns, its text, its length, and that it is neither copied nor held out.

A row is judged in steps, the cheap ones first, and by no further step once one has refused it: first by itself, then a
block of rows at a time against what is held out and what was accepted before (`components.dft.copies`). Every check
takes time in proportion to the text; of each accepted chat about a kilobyte is kept beside the chat itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from components.dft.copies import TOKEN, HeldOut, Problem, Seen, turns_of
from components.dft.languages import Language, foreign
from components.dft.reading import Row
from components.language.boxed import boxed_answer, canonical
from data_contracts.base import Contract
from data_contracts.chat import ChatExample
from data_contracts.chat_reasons import chat_finding

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Script = Literal[
    "Latin", "Greek", "Cyrillic", "Han", "Hiragana", "Katakana", "Hangul", "Arabic", "Hebrew", "Devanagari", "Thai"
]  # fmt: skip
"""Names of Unicode's property Script"""
_DAMAGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
BARE_TOKENS = 8
MOSTLY_BARE = 0.5
"""With more bare answers than this DFT lost: Natural Questions, 31.2 before, 30.1 after it, 36.6 after SFT (its paper).
The tokens of an unknown fact are improbable, and DFT's weight leaves them so."""
BLOCK = 256
"""Rows that are compared at a time"""


class CheckConfig(Contract):
    """What a chat must be to be trained on."""

    max_length: int = Field(default=2048, ge=8, description="tokens of a chat; longer ones are refused, not cut")
    scripts: tuple[Script, ...] = Field(default=("Latin", "Greek"), min_length=1, description="that are expected")
    languages: tuple[Language, ...] = Field(
        default=("English",),
        min_length=1,
        description="that are expected, of those that Latin script is used for",
    )
    max_unexpected: float = Field(default=0.05, ge=0, le=1, description="largest share of letters of other scripts")
    near_duplicate: float = Field(default=0.8, gt=0, le=1, description="least similarity of copies; see copies.Seen")
    overlap: float = Field(
        default=0.5, gt=0, le=1, description="least share of a prompt that is a leak; see copies.HeldOut"
    )


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
    left = iter(rows)
    while block := list(islice(left, BLOCK)):
        for row, problems in zip(block, judge.problems(block), strict=True):
            found = tuple(chat_finding(code, message, row.where) for code, message in problems)
            judged = replace(row, findings=(*row.findings, *found)) if found else row
            bad = any(finding.severity == "error" for finding in judged.findings)
            (quarantined if bad else accepted).append(judged)
            counts.update({finding.code for finding in judged.findings})
    return Checked(accepted, quarantined, dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


class _Judge:
    """Judges rows one after the other; it remembers the ones that it accepted."""

    def __init__(self, config: CheckConfig, held_out: HeldOut, tokenizer: PreTrainedTokenizerFast) -> None:
        self._config, self._held_out, self._tokenizer = config, held_out, tokenizer
        self._seen = Seen(config.near_duplicate)

    def problems(self, rows: Sequence[Row]) -> list[list[Problem]]:
        """Of each row; none for one that could not be read, which has its findings already."""
        found = [self._alone(row.example) if row.example else [] for row in rows]
        sound = [(i, row.example) for i, row in enumerate(rows) if row.example and not found[i]]
        turns = [turns_of(example) for _, example in sound]
        for (i, example), leak, chat in zip(sound, self._held_out.find(turns), self._seen.of(turns), strict=True):
            found[i] = leak or self._seen.admit(chat, rows[i].where) or list(check_answer(example))
        return found

    def _alone(self, example: ChatExample) -> list[Problem]:
        """What a chat is refused for whatever the others are."""
        return (
            list(check_turns(example))
            or list(check_text(example, self._config))
            or list(check_language(example, self._config))
            or list(check_tokens(example, self._config, self._tokenizer))
        )


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


def check_language(example: ChatExample, config: CheckConfig) -> Iterator[Problem]:
    """Whether the chat is in a language that is not expected, as far as its function words tell."""
    text = " ".join(message.content for message in example.messages)
    if (found := foreign(text, config.languages)) is not None:
        language, theirs, ours = found
        told = f"{theirs} function words are {language}, {ours} {' or '.join(config.languages)}"
        yield "language.unexpected-language", told


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
    return len(TOKEN.findall(example.response)) <= BARE_TOKENS


def _plain(answer: str) -> str:
    return canonical(answer) or "".join(answer.split())
