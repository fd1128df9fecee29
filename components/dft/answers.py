r"""Whether a response is right, by the kind of its question's answer: always its last \boxed{…}, never a guess."""

from __future__ import annotations

import re
from collections.abc import Sequence

from components.language.boxed import bare, boxed_answer
from components.language.grading import Grader
from data_contracts.chat import ChatExample

_LETTER = re.compile(r"\(?\s*([A-Za-z])\s*\)?[.:]?")


def right_all(problems: Sequence[ChatExample], responses: Sequence[str], grader: Grader) -> list[bool]:
    """Of each response whether it answers the problem beside it.

    A response without a box is wrong, and so is a choice that is not one letter: the public code of R-Zero takes the
    first letter that it finds, and one at random where it finds none.
    """
    pairs = list(zip(problems, responses, strict=True))
    graded = iter(grader.correct_all((r, p.answer) for p, r in pairs if p.answer_kind == "math"))
    return [bool(next(graded)) if p.answer_kind == "math" else _equal(p, boxed_answer(r)) for p, r in pairs]


def _equal(problem: ChatExample, boxed: str | None) -> bool:
    if boxed is None:
        return False
    if problem.answer_kind == "choice":
        return letter(boxed) == problem.answer
    return plain(boxed) == plain(problem.answer)


def letter(boxed: str) -> str | None:
    r"""The one letter that a box holds: of `C`, `(C)`, `C.` and `\text{C}`; None of anything else."""
    found = _LETTER.fullmatch(bare(boxed))
    return found[1].upper() if found else None


def plain(text: str) -> str:
    """A text without what does not count: case, white space at its ends and runs of it, brackets around a letter."""
    return letter(text) or " ".join(bare(text).casefold().split())
