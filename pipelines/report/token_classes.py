"""Which kinds of tokens trainings made less probable: a row per kind, a column per arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from components.telemetry.report import Block, Row, Table
from data_contracts.scores import ClassChange, Mean

Found = Mapping[str, Mapping[str, ClassChange]]
"""arm -> class -> what became of it"""


def tables(found: Found) -> list[Block]:
    """Nothing where no arm was analysed by class."""
    found = {arm: classes for arm, classes in found.items() if classes}
    if not found:
        return []
    first = next(iter(found.values()))
    total = sum(change.tokens for change in first.values())

    def table(column: str, of_base: Callable[[ClassChange], str], of: Callable[[ClassChange], str], told: str) -> Table:
        rows: list[Row] = [
            [name, of_base(base), *(of(classes[name]) if name in classes else "" for classes in found.values())]
            for name, base in first.items()
        ]
        return Table(["Kind of token", column, *found], rows, caption=told)

    return [
        table(
            "Share of the tokens", lambda c: _percent(c.tokens / total),
            lambda c: _interval(c.change, lambda x: f"{x:+.2f}"),
            "Mean change of log p, nats (95 % interval over chats).",
        ),
        table(
            "Tokens", lambda c: f"{c.tokens}", lambda c: _interval(c.fell, _percent),
            "Tokens that are less probable than before (95 % interval over chats).",
        ),
        table(
            "Before", lambda c: _percent(c.low_before),
            lambda c: f"{_interval(c.low_after, _percent)}, {_percent(c.of_low)} of the bin",
            "Tokens below p = 0.1, of their kind; and how much of that lowest bin is of the kind.",
        ),
    ]  # fmt: skip


def _interval(mean: Mean, say: Callable[[float], str]) -> str:
    return f"{say(mean.value)} ({say(mean.low)} … {say(mean.high)})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
