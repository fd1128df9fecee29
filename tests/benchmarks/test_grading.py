"""R-Zero groups ten answers to each of 8,000 questions in every iteration, and most of them are numbers."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable, Sequence

from math_verify import parse, verify

from components.language.boxed import bare
from components.language.grading import Grader

from .conftest import Table

QUESTIONS, SAMPLES = 8000, 10
MEASURED = 100
"""questions that the slow way is timed on; its whole time is scaled from them"""
LEAST_SPEEDUP = 20

Writer = Callable[[int, int], str]
"""an answer from two numbers; the writers of one kind write the same value"""

INTEGERS: list[Writer] = [
    lambda n, _: f"{n}", lambda n, _: f"{n}", lambda n, _: f"{n}", lambda n, _: f"{n}.0", lambda n, _: f"{n:,}",
    lambda n, _: f"${n}$", lambda n, _: rf"\text{{{n}}}", lambda n, _: rf"{n}\text{{ cm}}", lambda n, _: f"{n}.",
]  # fmt: skip
FRACTIONS: list[Writer] = [
    lambda n, d: rf"\frac{{{n}}}{{{d}}}", lambda n, d: f"{n}/{d}", lambda n, d: rf"\dfrac{{{n}}}{{{d}}}",
    lambda n, d: rf"\frac{{{2 * n}}}{{{2 * d}}}",
]  # fmt: skip
ALGEBRAIC: list[list[Writer]] = [
    [lambda a, b: f"{a}x+{b}", lambda a, b: f"{b}+{a}x"],
    [lambda a, b: rf"{a}\sqrt{{{b}}}", lambda a, b: rf"\sqrt{{{b}}} \cdot {a}"],
    [lambda a, b: f"(x+{a})(x+{b})", lambda a, b: f"x^2+{a + b}x+{a * b}"],
    [lambda a, b: rf"\{{{a},{a + b}\}}", lambda a, b: rf"\{{{a + b}, {a}\}}"],
    [lambda a, b: rf"\frac{{{a}\pi}}{{{b}}}", lambda a, b: rf"\frac{{{a}}}{{{b}}}\pi"],
]  # fmt: skip
JUNK = [None, None, "??", r"\text{no solution}", "No solution", "I do not know", "x = ", "**7**"]


def questions(count: int, seed: int = 0) -> list[list[str | None]]:
    """Answers of a solver that finds the right one in anything from a fifth to all of its samples.

    80 % of the questions ask for an integer, 15 % for a fraction, 5 % for an expression; one sample in 20 is junk.
    """
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        kind = draw.choices([INTEGERS, FRACTIONS, draw.choice(ALGEBRAIC)], [80, 15, 5])[0]
        values = [(draw.randint(2, 3000 if kind is INTEGERS else 30), draw.randint(2, 12)) for _ in range(4)]
        solved = draw.uniform(0.2, 1)
        found.append([_sample(draw, kind, values, solved) for _ in range(SAMPLES)])
    return found


def _sample(draw: random.Random, kind: list[Writer], values: list[tuple[int, int]], solved: float) -> str | None:
    if draw.random() < 0.05:
        return draw.choice(JUNK)
    return draw.choice(kind)(*(values[0] if draw.random() < solved else draw.choice(values)))


def pairwise(samples: Sequence[str | None]) -> tuple[int | None, ...]:
    """As the public code groups: each answer is compared with the first of each group, in order of arrival."""
    firsts: list[str] = []
    labels: list[int | None] = []
    for sample in samples:
        if sample is None:
            labels.append(None)
            continue
        label = next((n for n, first in enumerate(firsts) if first == sample or same(first, sample)), len(firsts))
        if label == len(firsts):
            firsts.append(sample)
        labels.append(label)
    return tuple(labels)


def same(a: str, b: str) -> bool:
    """math-verify as its readme uses it, in either direction, after the clean-up that both sides of this race share."""
    x, y = (parse(f"${bare(text)}$", parsing_timeout=None) for text in (a, b))
    return verify(x, y, timeout_seconds=None) or verify(y, x, timeout_seconds=None)


def test_grouping_is_much_faster_than_comparing_in_turn(table: Table) -> None:
    """Canonical forms first and workers for the rest, against math-verify for every pair in turn, in one process.

    In processor seconds, as other programs may run here: this process's, and the workers' divided among them, which is
    the time by the clock where nothing else runs.
    """
    asked = questions(QUESTIONS)
    started, clock = processor(), time.perf_counter()
    with Grader() as grader:
        groups = grader.groups(asked)
        workers = grader.config.workers
    wall = time.perf_counter() - clock
    own, children = (after - before for before, after in zip(started, processor(), strict=True))
    ours = own + children / workers

    same("x+1", "1+2x")  # the grammar is loaded once
    sample = range(0, QUESTIONS, QUESTIONS // MEASURED)
    before = processor()[0]
    in_turn = [pairwise(asked[n]) for n in sample]
    theirs = (processor()[0] - before) * QUESTIONS / MEASURED

    table(f"grouping {QUESTIONS} x {SAMPLES} answers, 5 % of the questions with expressions", [
        (f"in turn by math-verify, scaled from {MEASURED} questions", f"{theirs:.0f} s"),
        ("canonical forms, then workers: this process", f"{own:.1f} s"),
        (f"{workers} workers together, with their start", f"{children:.1f} s"),
        ("by the clock on idle cores", f"{ours:.1f} s"),
        ("by the clock here", f"{wall:.1f} s"),
        ("times faster on idle cores", f"{theirs / ours:.1f}"),
    ])  # fmt: skip
    assert [groups[n].labels for n in sample] == in_turn
    assert theirs / ours >= LEAST_SPEEDUP


def processor() -> tuple[float, float]:
    """Processor seconds of this process, and of its children that have ended."""
    own, children = (sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own, children
