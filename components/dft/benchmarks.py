"""The forms in which public benchmarks publish their questions, beside those of chats.

| fields | benchmarks | compared |
|---|---|---|
| `question`, `options`: texts; the right one by `answer_letter`, `answer_index` (from 0), or `answer`, a letter or one of the texts | MMLU-Pro, SuperGPQA | as a letter |
| `question`, and `answer`; in it only what follows `####` counts | GSM8K, AMC, AIME, Minerva | as mathematics |
| `question`, and `final_answer`: texts | OlympiadBench | as mathematics |
| `input`, and `target`: texts | BBEH | as a text |
"""  # noqa: E501

from __future__ import annotations

from string import ascii_uppercase as LETTERS
from typing import Any

FIELDS = ("question", "options", "answer_letter", "answer_index", "final_answer", "input", "target")
ASK_FOR_LETTER = "Answer with the letter of the right option."


class WrongForm(Exception):
    """The row is JSON, but no chat."""


def as_problem(row: dict[str, Any]) -> dict[str, str]:
    """`problem`, `answer` and `answer_kind` of a row in one of these forms. Raises WrongForm."""
    if "question" in row and "options" in row:
        return _choice(row["question"], row["options"], row)
    if "question" in row:
        return {"problem": _text("question", row["question"]), "answer": _final(row), "answer_kind": "math"}
    if "input" in row and "target" in row:
        problem, target = _text("input", row["input"]), _text("target", row["target"])
        return {"problem": problem, "answer": target, "answer_kind": "exact"}
    raise WrongForm("the row has none of messages, prompt, problem, question, and input with target")


def _choice(question: Any, options: Any, row: dict[str, Any]) -> dict[str, str]:
    if not isinstance(options, list) or not 2 <= len(options) <= len(LETTERS):
        raise WrongForm(f"options are no list of 2 to {len(LETTERS)} texts")
    told = [f"{letter}. {_text('an option', option)}" for letter, option in zip(LETTERS, options, strict=False)]
    problem = "\n".join([_text("question", question), "", *told, "", ASK_FOR_LETTER])
    return {"problem": problem, "answer": _letter(options, row), "answer_kind": "choice"}


def _letter(options: list[str], row: dict[str, Any]) -> str:
    """Of the right option. Where a row names it in several ways they must agree."""
    letters, answer, index = LETTERS[: len(options)], row.get("answer"), row.get("answer_index")
    same = [letter for letter, option in zip(letters, options, strict=True) if option == answer]
    said = [str(row["answer_letter"])] if "answer_letter" in row else []
    if index is not None:
        said.append(letters[index] if isinstance(index, int) and 0 <= index < len(letters) else "?")
    if not same and isinstance(answer, str):
        said.append(answer.strip())
    named = set(said) or set(same)
    if len(named) != 1 or not named <= set(letters) or (same and not named <= set(same)):
        raise WrongForm(f"the row does not name one of its options {letters[0]} to {letters[-1]} as the right one")
    return named.pop()


def _final(row: dict[str, Any]) -> str:
    """The answer of a question; '' if it has none."""
    if isinstance(finals := row.get("final_answer"), list):
        return ", ".join(_text("final_answer", final) for final in finals)
    answer = row.get("final_answer", row.get("answer", ""))
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise WrongForm("answer is neither a text nor a number")
    return str(answer).rpartition("####")[2].strip()


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise WrongForm(f"{name} is no text")
    return value
