"""Generated problems: right answers, honest levels, splits that share nothing, solutions that say what they are.

Everything is checked from the text by readers of this file's own, which share no code with the generator.
"""

from __future__ import annotations

import ast
import operator
import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import chain, islice, pairwise
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from components.language.config import Noise, ProblemsConfig, Style
from components.language.expressions import Expression, Number, Operation, work
from components.language.levels import LEVELS
from components.language.problems import Problem, draw, example, generate
from components.language.word_problems import NAMES, THEMES, THINGS
from data_contracts.chat import ChatExample

OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}  # fmt: skip


def value(text: str) -> Fraction:
    """What arithmetic text is worth, by Python's grammar."""

    def of(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](of(node.left), of(node.right))
        if isinstance(node, ast.UnaryOp):
            return -of(node.operand)
        assert isinstance(node, ast.Constant)
        return Fraction(str(node.value))

    return of(ast.parse(text, mode="eval").body)


WHO, WHAT, N = r"[A-Z][a-z]+", r"[a-z]+", r"(\d+)"
Effect = Callable[..., Fraction]
"""(value so far, numbers in the order in which the sentence names them) -> value after it"""
READER: list[tuple[str, Effect]] = [
    (rf"{WHO} had {N} {WHAT} and lost {N}\.", lambda x, a, b: a - b),
    (rf"{WHO} has {N} bags of {N} {WHAT}\.", lambda x, a, b: a * b),
    (rf"{WHO} has {N} red and {N} blue {WHAT}\.", lambda x, a, b: a + b),
    (rf"{WHO} has {N} times as many as {WHO}\.", lambda x, a: x * a),
    (rf"{WHO} has {N} fewer than {WHO}\.", lambda x, a: x - a),
    (rf"{WHO} has {N} coins more than {WHO}\.", lambda x, a: x + a),
    (rf"{WHO} has {N} more\. How many {WHAT} do both have\?", lambda x, a: x + (x + a)),
    (rf"(?:{WHO}|A shop) has {N} {WHAT}\.", lambda x, a: a),
    (rf"{WHO} gets {N} more\.", lambda x, a: x + a),
    (rf"{WHO} gives {WHO} {N} more\.", lambda x, a: x + a),
    (rf"{WHO} gives {N} to each of {N} friends\.", lambda x, each, friends: x - each * friends),
    (rf"{WHO} gives {N} to {WHO}\.", lambda x, a: x - a),
    (rf"{WHO} gives half of the coins to {WHO}\.|Half of the {WHAT} are sold\.", lambda x: x / 2),
    (rf"{WHO} sells half of the {WHAT}\.", lambda x: x / 2),
    (rf"They are packed in boxes of {N}\. How many are left over\?", lambda x, a: x % a),
    (rf"How many are left when {N} are lost\?", lambda x, a: x - a),
    (rf"{N} (?:friends|children) share (?:them|the coins)(?: equally)?\. How many does each get\?", lambda x, a: x / a),
    (rf"{N} of them are (?:old|sold)\. What fraction is that\?", lambda x, a: a / x),
    (rf"{WHO} works {N} hours for {N} coins an hour\.", lambda x, a, b: a * b),
    (rf"{WHO} buys {N} {WHAT} at {N} coins each and pays with {N} coins\.", lambda x, n, price, paid: paid - n * price),
    (rf"{WHO} buys {N} {WHAT} at {N} coins each\.", lambda x, n, price: x - n * price),
    (rf"{WHO} buys as many {WHAT} at {N} coins as possible\. How much change is left\?", lambda x, a: x % a),
    (rf"{WHO} gets {N} coins from {WHO} and spends {N}\.", lambda x, a, b: a - b),
    (rf"{WHO} earns {N} coins\.", lambda x, a: x + a),
    (rf"{WHO} spends {N} coins\.", lambda x, a: x - a),
    (rf"{WHO} saves {N} coins a day for {N} days\.", lambda x, a, b: x + a * b),
    (rf"How many {WHAT} at {N} coins each can {WHO} buy\?", lambda x, a: x / a),
    (rf"A bike costs {N} coins\. How many are missing\?|How many are missing to {N}\?", lambda x, a: a - x),
    (rf"{WHO} is {N} years old\.", lambda x, a: a),
    (rf"{WHO} was {N} years old {N} years ago\.", lambda x, age, ago: age + ago),
    (rf"{WHO} will be {N} years old in {N} years\.", lambda x, age, hence: age - hence),
    (rf"{WHO} is {N} years older than {WHO}\.", lambda x, a: x + a),
    (rf"{WHO} is {N} years younger than {WHO}\.", lambda x, a: x - a),
    (rf"{WHO} is {N} times as old as {WHO}\.", lambda x, a: x * a),
    (rf"{WHO} is half as old as {WHO}\.|{WHO} goes half as far\.", lambda x: x / 2),
    (rf"{WHO} is {N} years older\. How old are both together\?", lambda x, a: x + (x + a)),
    (rf"How old will {WHO} be in {N} years\?", lambda x, a: x + a),
    (rf"How old was {WHO} {N} years ago\?", lambda x, a: x - a),
    (rf"{WHO} rides {N} km an hour for {N} hours\.", lambda x, a, b: a * b),
    (rf"{WHO} rides {N} km in {N} hours\. At this speed {WHO} rides {N} hours\.", lambda x, km, h, more: km / h * more),
    (rf"{WHO} rides {N} km\.", lambda x, a: a),
    (rf"Then {WHO} goes {N} km on\.", lambda x, a: x + a),
    (rf"Then {WHO} goes {N} km back\.", lambda x, a: x - a),
    (rf"Then {WHO} walks on for {N} hours at {N} km an hour\.", lambda x, h, speed: x + h * speed),
    (rf"{WHO} goes {N} times as far\.", lambda x, a: x * a),
    (rf"The lake is {N} km from home\. How far is it still\?", lambda x, a: a - x),
    (rf"At {N} km an hour, how many hours does the way back take\?", lambda x, a: x / a),
    (rf"{WHO} takes {N} hours\. How many km an hour is that\?", lambda x, a: x / a),
    (rf"A machine makes {N} {WHAT} in {N} hours\. It runs {N} hours\.", lambda x, n, h, more: n / h * more),
    (rf"{N} workers make {N} {WHAT} each\.", lambda x, a, b: a * b),
    (rf"{N} of the {WHAT} break\.", lambda x, a: x - a),
    (rf"A van brings {N} boxes of {N} {WHAT}\.", lambda x, a, b: x + a * b),
    (rf"{WHO} buys {N} boxes of {N}\.", lambda x, a, b: x - a * b),
    (rf"{WHO} buys {N} boxes of {N} {WHAT}\.", lambda x, a, b: x + a * b),
    (rf"A day later there are {N} times as many\.", lambda x, a: x * a),
    (rf"They are put on {N} shelves\. How many are on each\?", lambda x, a: x / a),
    (rf"Boxes hold {N} {WHAT} each\. How many stay outside\?", lambda x, a: x % a),
    (r"How (?:many|old|far)(?: \w+){2,5}\?", lambda x: x),
]


def read_story(text: str) -> Fraction:
    """The answer of a word problem, read from its English alone."""
    x = Fraction(0)
    while text:
        for pattern, effect in READER:
            found = re.match(pattern, text)
            if found:
                x = effect(x, *(Fraction(n) for n in found.groups() if n))
                text = text[found.end() :].lstrip()
                break
        else:
            raise AssertionError(f"no reader for {text!r}")
    return x


def examples(count: int, seed: int = 0, **changes: object) -> list[ChatExample]:
    usual = {"levels": tuple(LEVELS), "noise_share": 0.0}
    return list(islice(generate(ProblemsConfig.model_validate(usual | changes), seed), count))


def question(chat: ChatExample) -> str:
    return chat.messages[0].content


def boxed(chat: ChatExample) -> str:
    (answer,) = re.findall(r"\\boxed\{([^{}]*)\}", chat.response)
    return str(answer)


def equations(solution: str) -> list[tuple[str, str]]:
    """Every `left = right` that a solution claims, sentences included; not those with x or the box."""
    for words, symbol in (
        ("plus|and", "+"), ("minus|less", "-"), ("times|multiplied by", "*"), ("divided by|over", "/"),
        ("modulo|mod", "%"), ("is|makes|gives|equals", "="),
    ):  # fmt: skip
        solution = re.sub(rf"(?<=\d) (?:{words}) (?=\d)", symbol, solution)
    chains = re.findall(r"[\d+*/%()-]+(?:\n?=[\d+*/%()-]+)+", solution)
    return [pair for text in chains for pair in pairwise(text.replace("\n", "").split("="))]


def same_story(chat: ChatExample) -> str:
    """The question with names and things exchanged for blanks."""
    return re.sub(
        "|".join((*NAMES, *THINGS)), "_", re.sub(r"^(?:What is|Compute|Work out) |[=?.]+$", "", question(chat))
    )


def test_expressions_have_the_answer_that_they_claim() -> None:
    """A wrong `answer` would score right models as wrong."""
    for chat in examples(400, word_share=0.0):
        (text,) = re.findall(r"[\d+*/()-]+", question(chat))
        assert str(value(text)) == chat.answer, question(chat)


def test_word_problems_mean_what_their_answer_says() -> None:
    """A sentence whose formula is not what its English says would teach and score nonsense."""
    chats = examples(700, word_share=1.0, levels=(1, 2, 3))
    for chat in chats:
        assert str(read_story(question(chat))) == chat.answer, question(chat)
    seen = " ".join(map(same_story, chats))
    for sentence in (s for theme in THEMES for s in (*theme.openings, *theme.events, *theme.questions)):
        longest = max(re.split(r" ?\{.\} ?", sentence.text), key=len)
        assert longest.strip("?") in seen, sentence.text


def test_answers_are_whole_or_proper_fractions() -> None:
    """Answers must be what a short box can hold; negative numbers are in no solution, so never in an answer."""
    answers = [Fraction(chat.answer) for chat in examples(400)]
    assert all(a >= 0 for a in answers)
    assert all(a.denominator == 1 or a < 1 for a in answers)
    assert {a.denominator == 1 for a in answers} == {True, False}
    assert Counter(answers).most_common(1)[0][1] < 0.1 * len(answers), "one guess would do for many"


@pytest.mark.parametrize("level", LEVELS)
def test_levels_bound_numbers_and_steps(level: int) -> None:
    """`harder` is only harder if a level is what it says; steps out of range could not be learned from its examples."""
    bounds, random = LEVELS[level], Random(level)
    for _ in range(60):
        problem = draw(ProblemsConfig(), (level,), random)
        steps = work(problem.expression)
        assert problem.level == level
        assert len(steps) in bounds.operations
        assert all(0 <= step.result <= bounds.largest_value for step in steps)
        assert all(2 <= int(n) <= bounds.largest_number for n in re.findall(r"\d+", problem.question))


def test_levels_grow_and_share_no_problem() -> None:
    """A problem of two levels could be trained on at one and tested as harder at the other."""
    operations = list(chain.from_iterable(level.operations for level in LEVELS.values()))
    assert operations == sorted(set(operations))
    for easier, harder in pairwise(LEVELS.values()):
        assert easier.largest_number < harder.largest_number
        assert easier.largest_value < harder.largest_value


def test_splits_share_no_problem() -> None:
    """Leakage: a test problem that was trained on, if only with other names, measures memory."""
    train = {same_story(chat) for chat in examples(1500, levels=(1, 2))}
    held_out = {same_story(chat) for chat in examples(80, 7, levels=(1, 2), split="held-out")}
    assert not train & held_out


def test_one_problem_in_ten_is_held_out() -> None:
    """A split that starves training or testing; it must come from the content alone, the same in every run."""
    keys = [f"{n}+{n}" for n in range(4000)]
    splits = [Problem("", Number(0), "arithmetic", key, 1).split for key in keys]
    assert 0.08 < splits.count("held-out") / len(splits) < 0.12
    assert [key for key, split in zip(keys[:30], splits, strict=False) if split == "held-out"] == [
        "4+4", "12+12", "19+19", "23+23"
    ]  # fmt: skip


def test_examples_do_not_depend_on_how_many_are_drawn() -> None:
    """Resumed or sharded generation must make the same data; another seed must not."""
    config = ProblemsConfig()
    stream = list(islice(generate(config, 3), 40))
    assert [example(config, 3, i) for i in reversed(range(40))] == stream[::-1]
    assert not {question(c) for c in stream} <= {question(c) for c in islice(generate(config, 4), 40)}


def test_styles_and_noise_do_not_change_the_problems() -> None:
    """Arms that differ in noise or style must be compared on the same problems."""
    plain = examples(50, 1)
    other = examples(50, 1, styles=("verbose",), noise_share=1.0)
    assert [question(c) for c in plain] == [question(c) for c in other]
    assert [c.answer for c in plain] == [c.answer for c in other]


@pytest.mark.parametrize("style", get_args(Style))
def test_clean_solutions_are_true_line_by_line(style: str) -> None:
    """A false line in a clean solution is noise that nobody asked for."""
    for chat in examples(80, styles=(style,)):
        assert chat.source.endswith(f"/{style}/clean")
        assert boxed(chat) == chat.answer
        claims = equations(chat.response)
        assert claims
        assert all(value(left) == value(right) for left, right in claims), chat.response


@pytest.mark.parametrize("style", get_args(Style))
def test_wrong_steps_end_in_wrong_answers(style: str) -> None:
    """`answer` stays the true one, or noisy data would be scored as right."""
    for chat in examples(80, styles=(style,), noise_share=1.0, noise_kinds=("wrong-step",)):
        assert Fraction(boxed(chat)) != Fraction(chat.answer)
        assert any(value(left) != value(right) for left, right in equations(chat.response)), chat.response


@pytest.mark.parametrize("style", get_args(Style))
def test_muddled_solutions_are_right_for_wrong_reasons(style: str) -> None:
    """This noise is told from the others by its right answer after a false line."""
    for chat in examples(80, styles=(style,), noise_share=1.0, noise_kinds=("muddled",)):
        assert boxed(chat) == chat.answer
        claims = equations(chat.response)
        # A rewriting shows no step, and what is left of it can be as large after a slip (15%5, 25%5).
        assert any(value(left) != value(right) for left, right in claims) or style == "rewriting", chat.response


def test_filler_says_nothing_and_harms_nothing() -> None:
    """Filler must add words only: same lines, same answer."""
    for chat in examples(100, noise_share=1.0, noise_kinds=("filler",)):
        assert boxed(chat) == chat.answer
        assert all(value(left) == value(right) for left, right in equations(chat.response)), chat.response


def test_the_share_of_noise_is_as_asked() -> None:
    """The noise that an arm has to withstand is a number in the report."""
    kinds = Counter(chat.source.rsplit("/", 1)[1] for chat in examples(1000, noise_share=0.3, levels=(1,)))
    assert 0.26 < 1 - kinds["clean"] / 1000 < 0.34
    assert all(70 < kinds[kind] < 130 for kind in get_args(Noise))


def test_a_base_may_know_more_than_it_writes() -> None:
    """R-Zero needs both: a solver that errs only on the hard level, and a challenger that seldom writes it."""
    drawn = examples(
        600,
        levels=(1, 2),
        word_share=0.0,
        noise_share=1.0,
        noise_levels=(2,),
        asked_share=0.5,
        asked_levels=(1, 1, 1, 2),
    )  # fmt: skip
    asked = [chat.difficulty for chat in drawn if chat.source.endswith("/asked")]
    solved = {(chat.difficulty, chat.source.endswith("/clean")) for chat in drawn if not chat.source.endswith("/asked")}
    assert 0.65 < asked.count(1) / len(asked) < 0.85
    assert solved == {(1, True), (2, False)}


def test_sums_are_of_their_kind_however_they_are_put_together() -> None:
    """A challenger that can't reckon writes what it can't solve; of sums it can't write one that is out of range."""
    drawn = examples(300, levels=(1, 2), word_share=0.0, sums_only=True)
    assert not [chat for chat in drawn if re.search(r"[-*/]", question(chat))]
    assert max(int(chat.answer) for chat in drawn) > LEVELS[2].largest_value


def test_the_box_ends_the_solution() -> None:
    """Graders read the last box; text after it could hold another number."""
    for chat in examples(200, noise_share=0.5):
        assert re.search(r"\\boxed\{[\d/]+\}\.?$", chat.response), chat.response


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"levels": (1, 6)}, r"levels \[6\] do not exist; choose levels from"),
        ({"levels": ()}, "at least 1 item"),
        ({"styles": ()}, "at least 1 item"),
        ({"noise_share": 0.1, "noise_kinds": ()}, "name noise_kinds or set noise_share=0"),
        ({"word_share": 1.5}, "less than or equal to 1"),
        ({"asked_levels": (1, 7)}, r"levels \[7\] do not exist"),
        ({"sums_only": True, "word_share": 0.5}, "set word_share=0"),
    ],
)
def test_contradictions_are_refused(wrong: dict[str, object], message: str) -> None:
    """A configuration that can't be drawn must fail before anything starts, not loop for ever."""
    with pytest.raises(ValidationError, match=message):
        ProblemsConfig.model_validate(wrong)


def trees() -> st.SearchStrategy[Expression]:
    return st.recursive(
        st.integers(0, 99).map(Number),
        lambda inner: st.builds(Operation, st.sampled_from("+-*/%"), inner, inner),
        max_leaves=7,
    )


@given(trees())
def test_text_reads_back_as_the_same_tree(tree: Expression) -> None:
    """A missing bracket would ask another question than the one that is answered."""

    def built(node: ast.expr) -> Expression:
        if isinstance(node, ast.BinOp):
            symbol = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%"}[type(node.op)]
            return Operation(symbol, built(node.left), built(node.right))
        assert isinstance(node, ast.Constant)
        return Number(int(str(node.value)))

    assert built(ast.parse(str(tree), mode="eval").body) == tree


@given(trees())
def test_steps_lead_to_the_value(tree: Expression) -> None:
    """Solutions are written from the steps: each must be true, and the last one the value."""
    try:
        expected = value(str(tree))
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            work(tree)
        return
    steps = work(tree)
    assert (steps[-1].result if steps else expected) == expected
    assert all(value(f"({s.left}){s.symbol}({s.right})") == s.result for s in steps)
