"""R-Zero groups ten answers to each of 8,000 questions in every iteration, and most of them are numbers."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable, Sequence

from components.language import grading_worker
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
    try:
        return grading_worker.equal(bare(a), bare(b))
    except Exception:  # not mathematics
        return False


def test_grouping_is_much_faster_than_comparing_in_turn(table: Table) -> None:
    """Canonical forms first, processes for the rest; against math-verify for every pair. Processor seconds of all."""
    asked = questions(QUESTIONS)
    started, clock = cpu_seconds(), time.perf_counter()
    with Grader() as grader:
        groups = grader.groups(asked)
    ours, wall = cpu_seconds() - started, time.perf_counter() - clock

    same("x+1", "1+2x")  # the grammar is loaded once
    sample = range(0, QUESTIONS, QUESTIONS // MEASURED)
    started = cpu_seconds()
    in_turn = [pairwise(asked[n]) for n in sample]
    theirs = (cpu_seconds() - started) * QUESTIONS / MEASURED

    table(f"grouping {QUESTIONS} x {SAMPLES} answers, processor seconds", [
        (f"pairwise by math-verify, scaled from {MEASURED} questions", f"{theirs:.0f} s"),
        ("canonical forms, then workers (their start counted)", f"{ours:.1f} s"),
        ("the same by the clock", f"{wall:.1f} s"),
        ("times faster", f"{theirs / ours:.1f}"),
    ])  # fmt: skip
    assert [groups[n].labels for n in sample] == in_turn
    assert theirs / ours >= LEAST_SPEEDUP


def cpu_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
