"""Arithmetic as trees: exact values, the text with the fewest brackets, and the steps that work it out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

Value = int | Fraction
"""A result: an int wherever it is whole, so that most arithmetic is fast."""


class Expression:
    """A number, a slot to be filled, or an operation. `X + A * B` on expressions builds the tree of that formula."""

    def __add__(self, other: Expression) -> Operation:
        return Operation("+", self, other)

    def __sub__(self, other: Expression) -> Operation:
        return Operation("-", self, other)

    def __mul__(self, other: Expression) -> Operation:
        return Operation("*", self, other)

    def __truediv__(self, other: Expression) -> Operation:
        return Operation("/", self, other)

    def __mod__(self, other: Expression) -> Operation:
        return Operation("%", self, other)


@dataclass(frozen=True)
class Number(Expression):
    """A leaf: an integer, or (as the result of a last step) a fraction in lowest terms."""

    value: Value

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Slot(Expression):
    """A leaf of a formula that `fill` replaces."""

    name: str


@dataclass(frozen=True)
class Operation(Expression):
    """`left symbol right`, symbol one of `+ - * / %`."""

    symbol: str
    left: Expression
    right: Expression

    def __str__(self) -> str:
        """The text that reads back as exactly this tree: `a+(b+c)` keeps its brackets, for the steps differ."""
        own = _precedence(self)
        left = f"({self.left})" if _precedence(self.left) < own else str(self.left)
        right = f"({self.right})" if _precedence(self.right) <= own else str(self.right)
        return left + self.symbol + right


def _precedence(expression: Expression) -> int:
    if not isinstance(expression, Operation):
        return 3
    return 1 if expression.symbol in "+-" else 2


def fill(expression: Expression, slots: Mapping[str, Expression]) -> Expression:
    """`expression` with every slot replaced. Raises KeyError for a slot that `slots` lacks."""
    if isinstance(expression, Slot):
        return slots[expression.name]
    if isinstance(expression, Operation):
        return Operation(expression.symbol, fill(expression.left, slots), fill(expression.right, slots))
    return expression


def size(expression: Expression) -> int:
    """How many operations it has."""
    if not isinstance(expression, Operation):
        return 0
    return 1 + size(expression.left) + size(expression.right)


def apply(symbol: str, left: Value, right: Value) -> Value:
    """`left symbol right`, exact. Raises ZeroDivisionError for `/` and `%` by zero."""
    match symbol:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left // right if left % right == 0 else Fraction(left) / Fraction(right)
        case "%":
            return left % right
    raise ValueError(f"no operation {symbol!r}")


@dataclass(frozen=True)
class Step:
    """One operation worked out: `left symbol right = result`, and what is left to work out after it."""

    symbol: str
    left: Value
    right: Value
    result: Value
    rest: Expression

    def __str__(self) -> str:
        return f"{self.left}{self.symbol}{self.right}={self.result}"


def work(expression: Expression, slips: Mapping[int, int] | None = None) -> tuple[Step, ...]:
    """The steps from `expression` to its value, leftmost innermost operation first.

    `slips` makes mistakes: the result of step i is off by slips[i], and later steps carry it on.

    Raises:
        ZeroDivisionError: a division by zero, of the expression or by a slip.
    """
    return tuple(_steps(expression, slips or {}))


def evaluate(expression: Expression) -> Number:
    """The value of `expression`. Raises ZeroDivisionError."""
    return Number(work(expression)[-1].result) if isinstance(expression, Operation) else _leaf(expression)


def _leaf(expression: Expression) -> Number:
    if not isinstance(expression, Number):
        raise ValueError("a formula with open slots has no value; fill it first")
    return expression


def _steps(expression: Expression, slips: Mapping[int, int]) -> Iterator[Step]:
    done = 0
    while isinstance(expression, Operation):
        step = _reduce(expression, slips.get(done, 0))
        expression, done = step.rest, done + 1
        yield step


def _reduce(operation: Operation, slip: int) -> Step:
    """The first step of an operation; `rest` is the operation after it."""
    symbol, left, right = operation.symbol, operation.left, operation.right
    if isinstance(left, Operation):
        first = _reduce(left, slip)
        return Step(first.symbol, first.left, first.right, first.result, Operation(symbol, first.rest, right))
    if isinstance(right, Operation):
        first = _reduce(right, slip)
        return Step(first.symbol, first.left, first.right, first.result, Operation(symbol, left, first.rest))
    a, b = _leaf(left).value, _leaf(right).value
    result = apply(symbol, a, b) + slip
    return Step(symbol, a, b, result, Number(result))
