"""What a problem's difficulty means: how many operations it takes, and how large its numbers grow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from components.language.expressions import Expression, Value, apply, work


@dataclass(frozen=True)
class Level:
    """Bounds of a difficulty level. Levels differ in the number of operations, so no problem belongs to two."""

    operations: tuple[int, ...]
    largest_number: int
    """of the numbers in the question, which start at 2"""
    largest_value: int
    """of every step's result; the smallest is 0"""

    def unbounded(self) -> Level:
        """The same, with room for the largest sum of such numbers."""
        return replace(self, largest_value=self.largest_number * (max(self.operations) + 1))


LEVELS = {
    1: Level((1, 2), 10, 20),
    2: Level((3,), 20, 50),
    3: Level((4,), 30, 100),
    4: Level((5,), 50, 200),
    5: Level((6,), 100, 500),
}


def step_fits(symbol: str, left: Value, right: Value, level: Level) -> bool:
    """Whether a step has a whole result in range, and nothing is multiplied or divided by 0 or 1, or by itself to 1."""
    if symbol in "*/%" and (left < 2 or right < 2 or (symbol == "/" and left == right)):
        return False
    result = apply(symbol, left, right)
    return result.denominator == 1 and 0 <= result <= level.largest_value


def fits(expression: Expression, level: Level, fraction: bool = False) -> bool:
    """Whether every step of an expression fits. With `fraction` the last one divides a smaller number by a larger."""
    try:
        steps = work(expression)
    except ZeroDivisionError:
        return False
    whole, asked = (steps[:-1], steps[-1:]) if fraction else (steps, ())
    return all(step_fits(step.symbol, step.left, step.right, level) for step in whole) and all(
        0 < step.result < 1 for step in asked
    )
