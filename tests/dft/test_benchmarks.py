"""Public benchmarks in the forms they are published in, and their answers by kind: nothing is guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.dft.answers import letter, right_all
from components.dft.benchmarks import ASK_FOR_LETTER
from components.dft.reading import parse_row
from components.language.grading import Grader
from data_contracts.chat import AnswerKind, ChatExample, Message

OPTIONS = ["an apple", "a pear", "a plum"]
LETTERED = "Which is it?\n\nA. an apple\nB. a pear\nC. a plum\n\n" + ASK_FOR_LETTER


def read(row: dict[str, Any]) -> tuple[str, str, AnswerKind]:
    found = parse_row(json.dumps(row).encode(), "here")
    assert found.example, found.findings
    assert not found.example.response, "it is asked, not trained on"
    return found.example.messages[0].content, found.example.answer, found.example.answer_kind


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"question_id": 70, "question": "Which is it?", "options": OPTIONS, "answer": "B", "answer_index": 1,
          "cot_content": "", "category": "fruit"}, (LETTERED, "B", "choice")),
        ({"uuid": "x", "question": "Which is it?", "options": OPTIONS, "answer": "a plum", "answer_letter": "C"},
         (LETTERED, "C", "choice")),
        ({"question": "Which is it?", "options": OPTIONS, "answer_letter": "A"}, (LETTERED, "A", "choice")),
        ({"question": "Which is it?", "options": ["same", "same"], "answer": "same", "answer_letter": "B"},
         (f"Which is it?\n\nA. same\nB. same\n\n{ASK_FOR_LETTER}", "B", "choice")),
        ({"question": "How many?", "answer": "She has 3 + 4 = <<3+4=7>>.\n#### 1,007"}, ("How many?", "1,007", "math")),
        ({"question": "How many?", "answer": 27.0}, ("How many?", "27.0", "math")),
        ({"question": "Solve.", "final_answer": ["2"], "solution": ["so"], "answer_type": "Numerical"},
         ("Solve.", "2", "math")),
        ({"input": "(A) yes (B) no", "target": "(B)", "task": "boolean"}, ("(A) yes (B) no", "(B)", "exact")),
        ({"problem": "Which?", "answer": "B", "answer_kind": "choice"}, ("Which?", "B", "choice")),
        ({"problem": "2+2?", "answer": "4"}, ("2+2?", "4", "math")),
    ],
)  # fmt: skip
def test_forms_of_benchmarks(row: dict[str, Any], wanted: tuple[str, str, str]) -> None:
    """MMLU-Pro, SuperGPQA, GSM8K, AMC, OlympiadBench, BBEH, and a set that says its kind. Breaks if a worked solution
    were held for the answer, or a letter for mathematics."""
    assert read(row) == wanted


@pytest.mark.parametrize(
    "row",
    [
        {"question": "?", "options": OPTIONS},
        {"question": "?", "options": OPTIONS, "answer": "D"},
        {"question": "?", "options": OPTIONS, "answer": "B", "answer_index": 2},
        {"question": "?", "options": OPTIONS, "answer": "a pear", "answer_letter": "A"},
        {"question": "?", "options": OPTIONS, "answer_index": -1},
        {"question": "?", "options": ["one"], "answer": "A"},
        {"question": "?", "options": [1, 2], "answer": "A"},
        {"question": "?", "options": ["x"] * 27, "answer": "A"},
        {"question": ["?"], "answer": "4"},
        {"question": "?", "answer": ["4"]},
        {"question": "?", "final_answer": [4]},
        {"input": "what", "output": "that"},
        {"input": "", "target": "x"},
        {"problem": "?", "answer": "4", "answer_kind": "guess"},
    ],
)
def test_a_row_that_does_not_say_what_is_right_is_refused(row: dict[str, Any]) -> None:
    """Breaks if a set were read with answers that are not its own: every model would be judged wrongly."""
    found = parse_row(json.dumps(row).encode(), "here")
    assert [finding.code for finding in found.findings] == ["inventory.unknown-form"]


def problem(answer: str, kind: AnswerKind) -> ChatExample:
    return ChatExample(messages=(Message(role="user", content="?"),), answer=answer, answer_kind=kind)


CASES: list[tuple[AnswerKind, str, str, bool]] = [
    ("choice", "C", r"\boxed{C}", True),
    ("choice", "C", r"So \boxed{A}? No: \boxed{\text{(C)}}", True),
    ("choice", "C", r"\boxed{c.}", True),
    ("choice", "C", r"\boxed{A}", False),
    ("choice", "C", "The answer is C.", False),
    ("choice", "C", r"\boxed{C or D}", False),
    ("choice", "A", r"\boxed{An apple}", False),
    ("choice", "A", r"\boxed{}", False),
    ("choice", "A", r"\boxed{A", False),
    ("exact", "(B)", r"\boxed{B}", True),
    ("exact", "Sunday, May 2", r"\boxed{\text{sunday,  may 2}}", True),
    ("exact", "1/2", r"\boxed{0.5}", False),
    ("exact", "yes", "yes", False),
    ("exact", "yes", r"\boxed{yes and no}", False),
    ("math", "1/2", r"\boxed{0.5}", True),
    ("math", "1/2", "0.5", False),
]


def test_each_kind_of_answer_is_compared_in_its_way() -> None:
    """All at once, as a set is graded, so that verdicts meet their own responses. R-Zero's public code takes the first
    letter of `An apple`, and a random one where it finds none."""
    with Grader() as grader:
        found = right_all([problem(a, k) for k, a, _, _ in CASES], [response for _, _, response, _ in CASES], grader)
    assert found == [right for _, _, _, right in CASES]


def test_a_box_holds_one_letter_or_none() -> None:
    assert [letter(text) for text in ("C", "(j)", r"\text{B}", "B: 42", "BC", "4", "")] == [
        "C", "J", "B", None, None, None, None,
    ]  # fmt: skip


def test_old_sets_keep_their_bytes() -> None:
    """Breaks if the kind were written into every problem: their hashes, which scores are compared by, would change."""
    assert "answer_kind" not in problem("4", "math").model_dump_json()
    said = problem("C", "choice")
    assert ChatExample.model_validate_json(said.model_dump_json()) == said
