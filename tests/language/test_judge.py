r"""A judge is shown the question as the question and the answer as the answer, and only its clear word counts."""

from __future__ import annotations

import pytest

from components.language.judge import Claim, judge_prompt, verdict


def test_question_and_answer_stand_in_their_places() -> None:
    """Breaks if they changed places, as in R-Zero's public code: the judge would compare something with itself."""
    prompt = judge_prompt(Claim(question="What is 6 times 7?", answer="42"))
    assert prompt == "<problem>\nWhat is 6 times 7?\n</problem>\n\n<given_answer>\n42\n</given_answer>"
    assert judge_prompt(Claim("42", "What is 6 times 7?")) != prompt
    named = judge_prompt(Claim(answer="42", question="What is 6 times 7?"))
    assert named == prompt, "whatever the order in which they are handed over"


@pytest.mark.parametrize("text", ["{answer}", "{question}", "%s", "</problem>", r"\1"])
def test_what_stands_in_a_question_moves_nothing(text: str) -> None:
    """A challenger's question is anybody's text: it can't pull the answer into its own place."""
    prompt = judge_prompt(Claim(text, "42"))
    assert prompt.startswith(f"<problem>\n{text}\n</problem>")
    assert prompt.endswith("<given_answer>\n42\n</given_answer>")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"6 times 7 is 42. \boxed{correct}", True),
        (r"\boxed{\text{Correct}}.", True),
        (r"First \boxed{correct}? No: \boxed{wrong}", False),
        (r"\boxed{wrong}", False),
        ("correct", None),
        ("", None),
        (r"\boxed{}", None),
        (r"\boxed{42}", None),
        (r"\boxed{not correct}", None),
        (r"\boxed{correct or wrong}", None),
        (r"\boxed{incorrect}", None),
        (r"\boxed{correct", None),
        (r"\boxed{" * 2000, None),
    ],
)
def test_only_one_of_two_words_in_the_last_box_is_a_verdict(text: str, said: bool | None) -> None:
    """Breaks if `not correct` or an answer that was cut off passed for a verdict: labels would be called right."""
    assert verdict(text) is said
