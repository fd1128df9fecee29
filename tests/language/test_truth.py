"""The audit of labels stands on this: a wrong "true" answer would call right labels wrong."""

from itertools import islice

import pytest

from components.language.config import LEVELS, ProblemsConfig
from components.language.problems import generate
from components.language.truth import true_answer


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("word_share", [0.0, 1.0])
def test_every_generated_question_reads_back_to_its_answer(level: int, word_share: float) -> None:
    config = ProblemsConfig(levels=(level,), word_share=word_share)
    read = [(example.prompt[0].content, example.answer) for example in islice(generate(config, 3), 300)]
    assert [(question, true_answer(question)) for question, _ in read] == read


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("2+3*4", "14"), ("What is (2+3)*4?", "20"), ("Compute 7/2.", "7/2"), ("Work out 7%4-9.", "-6"),
        ("Ada has 3 apples. Ada gives 5 to Ben. How many apples does Ada have?", "-2"),
    ],
)  # fmt: skip
def test_questions_that_the_generator_would_not_write_are_worked_out_too(question: str, answer: str) -> None:
    """A challenger leaves the generator's bounds soon."""
    assert true_answer(question) == answer


@pytest.mark.parametrize(
    "question",
    [
        "", "What is ?", "2+", "2 + 3 apples", "5/0", "5%(2-2)", "__import__('os')", "2**9**9", "(" * 5000 + "1",
        "(" * 60 + "1" + ")" * 60, "9" * 5000, "Ada has 3 apples.", "How many apples does Ada have?",
        "Ada has 3 apples. Ben gives 5 to Ben. How many apples does Ada have?" * 90,
    ],
)  # fmt: skip
def test_what_is_no_such_question_has_no_answer(question: str) -> None:
    """A challenger's text is anybody's text: no error, no endless work, nothing guessed."""
    assert true_answer(question) is None
