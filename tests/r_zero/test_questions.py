r"""The challenger's responses: what is a question, what is none and why, and which questions are one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.r_zero.config import QuestionConfig
from components.r_zero.questions import QUESTION_REASONS, Question, question_pool, read_question
from data_contracts.chat_reasons import CHAT_REASONS
from data_contracts.reasons import Finding

CONFIG = QuestionConfig()


def response(question: str, answer: str = "42") -> str:
    return f"Let me think. <question>\n{question}\n</question>\n\n\\boxed{{{answer}}}"


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        (response("What is 40 + 2?"), "What is 40 + 2?", "42"),
        (response("How many <b> are in <b><b>?", r"\frac{1}{2}"), "How many <b> are in <b><b>?", r"\frac{1}{2}"),
        (response("What is 1 + 1?") + " " + response("What is 1 + 2?", "3"), "What is 1 + 2?", "3"),
        (r"<question>a <question>What is 5?</question> b</question> \boxed{5}", "What is 5?", "5"),
        (r"<question><question>What is 5?</question></question>\boxed{5}", "What is 5?", "5"),
        (r"<question>What is 5?</question> \boxed{5} <question> What is", "What is 5?", "5"),
        (r"</question> <question>What is 5?</question> \boxed{1} \boxed{\text{five}}", "What is 5?", r"\text{five}"),
        (r"<question>Put a \boxed{box} where?</question> \boxed{here}", r"Put a \boxed{box} where?", "here"),
        (response("Find x: 3x = 12"), "Find x: 3x = 12", "42"),
        (response("Is α + β = π?"), "Is α + β = π?", "42"),
    ],
)
def test_what_is_read(text: str, question: str, answer: str) -> None:
    """The last complete block and the box after it, whatever stands around; several characters survive."""
    assert read_question(text, CONFIG) == Question(text=question, answer=answer)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "language.no-question"),
        (r"What is 5? \boxed{5}", "language.no-question"),
        (r"<question>What is 5? \boxed{5}", "language.no-question"),
        (r"What is 5?</question><question> \boxed{5}", "language.no-question"),
        (r"<Question>What is 5?</Question> \boxed{5}", "language.no-question"),
        (r"<question >What is 5?</question> \boxed{5}", "language.no-question"),
        ("<question>What is 5?</question> 5", "language.no-boxed-answer"),
        (r"<question>What is 5?</question> \boxed{ }", "language.no-boxed-answer"),
        (r"<question>What is 5?</question> \boxed{5", "language.no-boxed-answer"),
        (r"\boxed{5} <question>What is \boxed{5}?</question>", "language.no-boxed-answer"),
        (response(""), "language.empty-question"),
        (response("?!? ... ?!?"), "language.empty-question"),
        (response(" 1? "), "language.question-length"),
        (response("long " * 500), "language.question-length"),
        (response("What is \x00 plus 1?"), "language.damaged-text"),
        (response("What is \ufffd plus 1?"), "language.damaged-text"),
        (response("What is 1 plus 1?", "1\x0crac12"), "language.damaged-text"),
        (response("What is 1 plus 1?", "2\ud800"), "language.damaged-text"),
        (response("一个篮子里有三个苹果,再放两个,一共有几个?"), "language.unexpected-script"),
        (response("Сколько будет 2 + 2?"), "language.unexpected-script"),
        (response("Prove that 2 is even."), "language.asks-for-proof"),
        (response("Let n be odd. Show that n + 1 is even."), "language.asks-for-proof"),
        (response("Find all n and\nshow  that there are no others."), "language.asks-for-proof"),
        (response("Disprove: 1 = 2"), "language.asks-for-proof"),
        (response("In the figure, what is the angle x?"), "language.needs-image"),
        (response("Use the diagram below to find x."), "language.needs-image"),
        (response("See ![a graph](g.png). What is x?"), "language.needs-image"),
        (response("[asy] draw((0,0)--(1,1)); [/asy] How long is it?"), "language.needs-image"),
    ],
)
def test_what_is_refused(text: str, code: str) -> None:
    """Each of these would be asked ten times, or be paid for; the reason is what the report shows."""
    found = read_question(text, CONFIG, "response 3")
    assert isinstance(found, Finding)
    assert (found.code, found.severity, found.where) == (code, "error", "response 3")
    assert code in QUESTION_REASONS or code in CHAT_REASONS


@pytest.mark.parametrize(
    "text",
    [
        "How can you improve 12 to 15?", "The data show that 40 of 50 pupils walk. What share is that?",
        "What is the image of 3 under f(x) = 2x?", "Ada figured out 2 + 2. What is it?", "12+3*4=?",
        "What is 5! [a] + 3", "How many boxes of 6 eggs hold 42 eggs?", "Name the least n with 2^n > 100",
        "Let 数 be the number 5. What is twice that number?",
    ],
)  # fmt: skip
def test_what_is_not_refused(text: str) -> None:
    """The public code drops every question about boxes. No question mark is needed."""
    assert read_question(response(text), CONFIG) == Question(text=text, answer="42")


def test_a_language_can_be_allowed() -> None:
    """Scripts are a setting; proofs are recognised in Chinese too."""
    config = QuestionConfig(scripts=("Latin", "Han"))
    assert isinstance(read_question(response("三加五等于多少?"), config), Question)
    refused = read_question(response("证明根号二是无理数。"), config)
    assert isinstance(refused, Finding)
    assert refused.code == "language.asks-for-proof"


STORY = "Ada has {} apples and buys {} more at the market near the old church. How many apples does {} have now?"


def test_repetitions_in_a_pool() -> None:
    """The first of those that repeat each other is kept; problems of one template with other numbers are not one."""
    texts = [
        STORY.format(3, 5, "she"), "What is 12 + 7?", STORY.format(3, 5, "she").upper().replace(" ", "  "),
        STORY.format(3, 6, "she"), STORY.format(3, 5, "Ada"), "What is 7 + 12?", "What is 12 - 7?", "what is 12 + 7?",
    ]  # fmt: skip
    pool = question_pool(["no question", *map(response, texts)], CONFIG)
    assert [question.text for question in pool.questions] == [texts[i] for i in (0, 1, 3, 5, 6)]
    assert [(finding.code, finding.where) for finding in pool.refused] == [
        ("language.no-question", "response 0"),
        ("duplicate.same-question", "response 3"),
        ("duplicate.same-question", "response 8"),
        ("duplicate.near-question", "response 5"),
    ]
    assert [finding.message for finding in pool.refused[1:]] == [
        "it repeats response 1", "it repeats response 2", "it nearly repeats response 1",
    ]  # fmt: skip
    assert list(pool.counts.items()) == [
        ("duplicate.same-question", 2), ("duplicate.near-question", 1), ("language.no-question", 1),
    ]  # fmt: skip


def test_near_repetitions_can_be_kept() -> None:
    """At 0 only equal texts are one."""
    texts = [STORY.format(3, 5, "she"), STORY.format(3, 5, "Ada"), STORY.format(3, 5, "SHE")]
    pool = question_pool(list(map(response, texts)), QuestionConfig(near_duplicate=0))
    assert [question.text for question in pool.questions] == texts[:2]


PIECES = st.sampled_from(
    ["<question>", "</question>", r"\boxed{", "}", "a", "1 + 1", " ", response("a"), response("b")]
)


@given(st.lists(st.lists(PIECES, max_size=6).map("".join), max_size=6))
@settings(max_examples=100, deadline=None)
def test_every_response_has_one_fate(parts: list[str]) -> None:
    """Whatever the responses: each is a question or refused for one reason, and a pool repeats nothing."""
    pool = question_pool(parts, QuestionConfig(min_characters=1))
    assert len(pool.questions) + len(pool.refused) == len(parts)
    assert sum(pool.counts.values()) == len(pool.refused)
    assert len({question.text.casefold() for question in pool.questions}) == len(pool.questions)
    assert not any("question>" in question.text for question in pool.questions)


@pytest.mark.parametrize(
    "text",
    [
        "<question>" * 100_000, "</question><question>" * 50_000, "<question></question>" * 50_000, "<" * 500_000,
        response("figure " * 250), response("![" * 900), response("." * 1900 + " show"), response("in the " * 280),
        response("x" * 300_000), response("x?" * 5, "{" * 200_000), "<question>a</question>" + r"\boxed{" * 50_000,
        response("\ud800\ud800 what is it?"), response("\u202e" * 100),
    ],
    ids=range(13),
)  # fmt: skip
def test_hostile_responses_take_no_time(text: str) -> None:
    """A model's text is anybody's text; each of these goes for a quadratic search or an unclosed brace."""
    started = time.process_time()
    question_pool([text], CONFIG)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("wrong", "mend"),
    [
        ({"scripts": ["Klingon"]}, "there is no Unicode script 'Klingon'"),
        ({"min_characters": 3000}, "lower question.min_characters"),
        ({"near_duplicate": 1.5}, "less than or equal to 1"),
    ],
)
def test_contradictions_are_refused(wrong: dict[str, object], mend: str) -> None:
    """Before anything is generated, and with the mend."""
    with pytest.raises(ValidationError, match=mend):
        QuestionConfig.model_validate(wrong)


def test_a_code_means_one_thing() -> None:
    """Reason codes are shared by the whole store."""
    assert not QUESTION_REASONS.keys() & CHAT_REASONS.keys()
