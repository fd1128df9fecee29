r"""The challenger's questions: read from its responses, checked by a contract, without repetitions.

A response is <question>…</question> and after it \boxed{…}, the challenger's own answer, which nobody trusts. A block
is an opening tag and a closing tag with no other tag between; the last block counts. So of nested tags the innermost
pair is read, and what the response ends within is no block. Tags are written exactly so.

What the contract can't tell: French passes as Latin script, and a proof may be asked for in other words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import regex

from components.language.boxed import boxed_answer
from components.r_zero.config import QuestionConfig
from components.r_zero.repetition import clusters
from data_contracts.base import Contract
from data_contracts.reasons import Finding, Reason

QUESTION_REASONS = {
    reason.code: reason
    for reason in (
        Reason(
            code="language.no-question", severity="error",
            meaning="The response has no <question>…</question> that is complete.",
            mend="If most have none, raise max_tokens, or train the challenger on the format first.",
        ),
        Reason(
            code="language.no-boxed-answer", severity="error",
            meaning="No \\boxed{…} with something in it follows the question.",
            mend="As for a missing question.",
        ),
        Reason(
            code="language.empty-question", severity="error",
            meaning="The question has no letter and no digit.",
            mend="As for a missing question.",
        ),
        Reason(
            code="language.question-length", severity="error",
            meaning="The question is shorter or longer than is asked.",
            mend="See min_characters and max_characters.",
        ),
        Reason(
            code="language.asks-for-proof", severity="error",
            meaning="The question asks for a proof, which has no answer to compare.",
            mend="Leave it out.",
        ),
        Reason(
            code="language.needs-image", severity="error",
            meaning="The question holds or refers to a figure, which the solver can't see.",
            mend="Leave it out.",
        ),
        Reason(
            code="duplicate.same-question", severity="error",
            meaning="The question repeats an earlier one, but for case and spacing.",
            mend="Leave it out.",
        ),
        Reason(
            code="duplicate.near-question", severity="error",
            meaning="The question repeats an earlier one with the same numbers and few other words.",
            mend="Leave it out.",
        ),
    )
}  # fmt: skip
"""Besides language.damaged-text and language.unexpected-script, which mean here what they mean in `chat_reasons`."""

_TAG = re.compile(r"<(/?)question>")
_DAMAGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_PROOF = re.compile(
    r"\b(?:dis)?prove\b|\bproof\s(?:of|that)\b|(?:^|[.;:!?,]|\b(?:and|then|to))\s?(?:show|demonstrate)\sthat\b|证明",
    re.IGNORECASE,
)
_IMAGE = re.compile(
    r"\b(?:figure|diagram|picture|image|graph|chart)\s(?:is\s)?(?:below|above|shown|on\sthe\s(?:left|right))\b"
    r"|\b(?:in|from|see|using)\sthe\s(?:following\s)?(?:figure|diagram|picture)\b"
    r"|\[asy\]|\\includegraphics|\\begin\{tikzpicture\}|!\[[^\]]{0,99}\]\(|<(?:img|svg|image)\b",
    re.IGNORECASE,
)
_QUANTITY = re.compile(r"\d+(?:[.,]\d+)*|\\[a-z]+|[^\w\s.,;:?\"'`’‘“”…$\\{}]")
"""numbers, LaTeX commands and symbols: what questions of one template differ in"""


class Question(Contract):
    """A question to ask."""

    text: str
    answer: str
    """the challenger's; it must be there, and is used for nothing else"""


@dataclass(frozen=True)
class Pool:
    """What became of every response."""

    questions: list[Question]
    """fit to be asked, in the order of the responses"""
    refused: list[Finding]
    """one a refused response; `where` numbers it, from 0"""

    @property
    def counts(self) -> dict[str, int]:
        """Refused responses by reason code, most frequent first."""
        counts = Counter(finding.code for finding in self.refused)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read_question(response: str, config: QuestionConfig, where: str = "") -> Question | Finding:
    """The question of one response, or the first reason why there is none. Time is linear in the response."""
    block = _last_block(response)
    if block is None:
        return _finding("language.no-question", "there is no complete <question> block", where)
    text, end = block
    answer = boxed_answer(response[end:])
    if answer is None:
        return _finding("language.no-boxed-answer", "no boxed answer follows the question", where)
    for code, message in _problems(text, answer, config):
        return _finding(code, message, where)
    return Question(text=text, answer=answer)


def question_pool(responses: Sequence[str], config: QuestionConfig) -> Pool:
    """The distinct questions of all responses. Of those that repeat each other the first one is kept.

    Near repetitions have the same numbers and symbols in the same order, so that problems of one template stay apart,
    and are in one cluster of `repetition.clusters` at `near_duplicate`.
    """
    questions: dict[str, tuple[str, Question]] = {}
    refused = []
    for number, response in enumerate(responses):
        where = f"response {number}"
        found = read_question(response, config, where)
        if isinstance(found, Finding):
            refused.append(found)
        elif (same := questions.setdefault(_plain(found.text), (where, found)))[0] != where:
            refused.append(_finding("duplicate.same-question", f"it repeats {same[0]}", where))
    kept: dict[tuple[int, str], tuple[str, Question]] = {}
    labels = clusters(list(questions), config.near_duplicate)
    for (plain, (where, question)), label in zip(questions.items(), labels.tolist(), strict=True):
        key = label, " ".join(_QUANTITY.findall(plain))
        if (near := kept.setdefault(key, (where, question)))[0] != where:
            refused.append(_finding("duplicate.near-question", f"it nearly repeats {near[0]}", where))
    return Pool([question for _, question in kept.values()], refused)


def _last_block(response: str) -> tuple[str, int] | None:
    """The stripped text of the last block, and where it ends."""
    block = opened = None
    for tag in _TAG.finditer(response):
        if not tag[1]:
            opened = tag.end()
        elif opened is not None:
            block, opened = (opened, tag.start(), tag.end()), None
    return None if block is None else (response[block[0] : block[1]].strip(), block[2])


def _problems(text: str, answer: str, config: QuestionConfig) -> Iterator[tuple[str, str]]:
    """Reason codes with messages; the length first, for it bounds the others' work."""
    if not any(character.isalnum() for character in text):
        yield "language.empty-question", "the question has no letter and no digit"
        return
    if not config.min_characters <= len(text) <= config.max_characters:
        allowed = f"{config.min_characters} to {config.max_characters}"
        yield "language.question-length", f"the question has {len(text)} characters, {allowed} are asked"
        return
    if damage := _DAMAGE.search(text) or _DAMAGE.search(answer):
        yield "language.damaged-text", f"the question or its answer holds U+{ord(damage[0]):04X}"
    if others := _unexpected_letters(text, config):
        yield "language.unexpected-script", f"letters are not {' or '.join(config.scripts)}, as {others[:10]!r}"
    words = " ".join(text.split())
    for code, pattern in (("language.asks-for-proof", _PROOF), ("language.needs-image", _IMAGE)):
        if found := pattern.search(words):
            yield code, f"the question says {found[0].strip()!r}"


def _unexpected_letters(text: str, config: QuestionConfig) -> str:
    """The letters of other scripts, '' if they are not too many."""
    expected = "".join(rf"\p{{Script={script}}}" for script in (*config.scripts, "Common", "Inherited"))
    others = regex.findall(rf"[\p{{Letter}}--[{expected}]]", text, regex.V1)
    letters = sum(character.isalpha() for character in text)
    return "".join(others) if len(others) > config.max_unexpected * letters else ""


def _plain(text: str) -> str:
    """What equal questions have in common."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _finding(code: str, message: str, where: str) -> Finding:
    return Finding(code=code, severity="error", message=message, where=where)
