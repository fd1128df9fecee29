"""Generated problems with worked solutions: arithmetic expressions and word problems, as chats.

Answers are right by construction: a question is written from an expression, and the expression is worked out exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from components.language.config import ProblemsConfig, Split
from components.language.expressions import Expression, Number, Operation, Value, apply, work
from components.language.levels import LEVELS, Level, step_fits
from components.language.solutions import write
from components.language.word_problems import draw_story
from data_contracts.chat import ChatExample, Message

HELD_OUT_ONE_IN = 10
WRITE_A_PROBLEM = "Write a problem."
"""What a challenger is asked; see `asked_share`."""
ASKING = ("{}", "{}=?", "What is {}?", "Compute {}.", "Work out {}.")


@dataclass(frozen=True)
class Problem:
    """A question and the expression that answers it. Problems with equal `key` are the same problem in other words."""

    question: str
    expression: Expression
    kind: str
    key: str
    level: int

    @property
    def answer(self) -> str:
        """An integer, or a fraction `a/b` in lowest terms."""
        return str(work(self.expression)[-1].result)

    @property
    def split(self) -> Split:
        """Where this problem belongs, in every run for ever: one in ten is held out."""
        digest = hashlib.sha256(self.key.encode()).digest()
        return "held-out" if int.from_bytes(digest[:8]) % HELD_OUT_ONE_IN == 0 else "train"


def generate(config: ProblemsConfig, seed: int) -> Iterator[ChatExample]:
    """Endless examples: `example(config, seed, 0)`, `example(config, seed, 1)`, …"""
    return (example(config, seed, index) for index in count())


def example(config: ProblemsConfig, seed: int, index: int) -> ChatExample:
    """Example `index` of the stream of `seed`; it depends on no other example.

    `answer` is the true one even where a noisy solution ends in another. `source` reads
    `generated/<kind>/<style>/<clean or the kind of noise>`; `difficulty` is the level.
    """
    random = Random(f"{seed}/{index}")
    problem = draw(config, config.levels, random)
    if config.asked_share and random.random() < config.asked_share:
        return _asked(draw(config, config.asked_levels, random) if config.asked_levels else problem)
    style = random.choice(config.styles)
    noisy = random.random() < config.noise_share and problem.level in config.noise_levels
    noise = random.choice(config.noise_kinds) if noisy else None
    solution = write(problem.expression, style, noise, random)
    return ChatExample(
        messages=(Message(role="user", content=problem.question), Message(role="assistant", content=solution)),
        answer=problem.answer,
        source=f"generated/{problem.kind}/{style}/{noise or 'clean'}",
        difficulty=problem.level,
    )


def _asked(problem: Problem) -> ChatExample:
    """The example the other way round: the problem is the answer, in the form in which R-Zero reads questions."""
    written = f"<question>{problem.question}</question>\n\\boxed{{{problem.answer}}}"
    return ChatExample(
        messages=(Message(role="user", content=WRITE_A_PROBLEM), Message(role="assistant", content=written)),
        answer=problem.answer,
        source=f"generated/{problem.kind}/asked",
        difficulty=problem.level,
    )


def draw(config: ProblemsConfig, levels: Sequence[int], random: Random) -> Problem:
    """A problem of one of these levels and of the configured split, drawn until it belongs there."""
    level = random.choice(levels)
    words = random.random() < config.word_share
    while True:
        problem = _word_problem(random, level) if words else _arithmetic(random, level, config.sums_only)
        if problem.split == config.split:
            return problem


def _word_problem(random: Random, level: int) -> Problem:
    story = draw_story(random, LEVELS[level])
    return Problem(story.question, story.expression, f"word-{story.theme}", story.key, level)


def _arithmetic(random: Random, level: int, sums_only: bool) -> Problem:
    bounds = LEVELS[level].unbounded() if sums_only else LEVELS[level]
    symbols = "+" if sums_only else "+-*/"
    expression, _ = _draw_expression(random, bounds, symbols, random.choice(bounds.operations))
    text = str(expression)
    return Problem(random.choice(ASKING).format(text), expression, "arithmetic", text, level)


def _draw_expression(random: Random, bounds: Level, symbols: str, operations: int) -> tuple[Expression, Value]:
    """A random tree whose numbers and results are in bounds, and its value.

    Shape and operations are drawn first; a number on the right of an operation is then drawn among those that fit.
    """
    numbers = range(2, bounds.largest_number + 1)
    if operations == 0:
        drawn = random.choice(numbers)
        return Number(drawn), drawn
    before = random.randrange(operations)
    left, left_value = _draw_expression(random, bounds, symbols, before)
    right, right_value = _draw_expression(random, bounds, symbols, operations - 1 - before)
    choices: Sequence[Value] = numbers if isinstance(right, Number) else (right_value,)
    for symbol in random.sample(symbols, len(symbols)):
        fitting = [n for n in choices if step_fits(symbol, left_value, n, bounds)]
        if fitting:
            value = random.choice(fitting)
            right = Number(value) if isinstance(right, Number) else right
            return Operation(symbol, left, right), apply(symbol, left_value, value)
    return Operation("-", right, left), right_value - left_value  # nothing fits a smaller left side but this
