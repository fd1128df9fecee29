"""Worked solutions: the same steps written in several styles, ending in the boxed answer; and their noisy kinds."""

from __future__ import annotations

from random import Random

from components.language.config import Noise, Style
from components.language.expressions import Expression, Step, Value, work

WORDS = {
    "+": ("plus", "and"),
    "-": ("minus", "less"),
    "*": ("times", "multiplied by"),
    "/": ("divided by", "over"),
    "%": ("modulo", "mod"),
}
FIRST = ("First,", "We start with", "To begin,")
NEXT = ("Then", "Next,", "After that,", "Now")
IS = ("is", "makes", "gives", "equals")
LAST = ("So the answer is", "That means the answer is", "The result is", "Therefore we get")
FILLER = ("Let me think.", "This is not hard.", "We go on.", "Let us see.", "Well,", "That looks right.")


def write(expression: Expression, style: Style, noise: Noise | None, random: Random) -> str:
    """The solution of `expression` as text whose last `\\boxed{}` holds its answer; a wrong one with `wrong-step`."""
    steps = work(expression)
    answer = steps[-1].result
    if noise == "wrong-step":
        steps = _with_a_slip(expression, steps, random)
        answer = steps[-1].result
    elif noise == "muddled":
        steps = _muddled(expression, steps, random)
    parts = _parts(expression, steps, answer, style, random)
    if noise == "filler":
        for _ in range(random.randint(1, 3)):
            parts.insert(random.randrange(len(parts)), random.choice(FILLER))
    return (" " if style == "verbose" else "\n").join(parts)


def _parts(expression: Expression, steps: tuple[Step, ...], answer: Value, style: Style, random: Random) -> list[str]:
    """Lines or sentences, the boxed answer in the last one."""
    boxed = f"\\boxed{{{answer}}}"
    match style:
        case "terse":
            return [*map(str, steps), boxed]
        case "steps":
            return [*(f"Step {i}: {step}" for i, step in enumerate(steps, 1)), f"Answer: {boxed}"]
        case "rewriting":
            first, *others = (f"={step.rest}" for step in steps)
            return [f"{expression}{first}", *others, boxed]
        case "equation":
            return [f"x={expression}", *map(str, steps), f"x={boxed}"]
        case "verbose":
            told = [_sentence(step, random.choice(FIRST if i == 0 else NEXT), random) for i, step in enumerate(steps)]
            return [*told, f"{random.choice(LAST)} {boxed}."]


def _sentence(step: Step, opening: str, random: Random) -> str:
    words, verb = random.choice(WORDS[step.symbol]), random.choice(IS)
    return f"{opening} {step.left} {words} {step.right} {verb} {step.result}."


def _with_a_slip(expression: Expression, steps: tuple[Step, ...], random: Random) -> tuple[Step, ...]:
    """One step's result is wrong, later ones carry it on, and so the final result is wrong too."""
    for at in random.sample(range(len(steps)), len(steps)):
        slipped = _slip(expression, steps, at, random)
        if slipped is not None and slipped[-1].result != steps[-1].result:
            return slipped
    return work(expression, {len(steps) - 1: 1})


def _slip(expression: Expression, steps: tuple[Step, ...], at: int, random: Random) -> tuple[Step, ...] | None:
    """Step `at` is off by a little, or by ten; None if that leads to a negative number or a fraction on the way."""
    slip = random.choice((-10, -2, -1, 1, 2, 10))
    try:
        slipped = work(expression, {at: slip})
    except ZeroDivisionError:
        return None
    plausible = all(step.result >= 0 and step.result.denominator == 1 for step in slipped)
    return slipped if plausible else None


def _muddled(expression: Expression, steps: tuple[Step, ...], random: Random) -> tuple[Step, ...]:
    """One step shows a wrong result that the others do not use, and the order is lost."""
    at = random.randrange(len(steps))
    shown = list(steps)
    shown[at] = work(expression, {at: random.choice((1, 2, 10))})[at]
    random.shuffle(shown)
    return tuple(shown)
