"""Which kinds of tokens trainings made less probable: a column per kind, a row per arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from components.telemetry.report import Block, Row, Table
from data_contracts.scores import ClassChange, Mean

Found = Mapping[str, Mapping[str, ClassChange]]
"""arm -> kind -> what became of it"""
JOINED = "\u2060"
"""No line breaks here: within an interval"""
Say = Callable[[ClassChange], str]


def tables(found: Found) -> list[Block]:
    """Nothing where no arm was analysed by kind."""
    found = {arm: kinds for arm, kinds in found.items() if kinds}
    if not found:
        return []
    first = next(iter(found.values()))
    total = sum(kind.tokens for kind in first.values())

    def row(name: str, kinds: Mapping[str, ClassChange], say: Say) -> Row:
        return [name, *(say(kinds[kind]) if kind in kinds else "" for kind in first)]

    def table(label: str, of_base: Say, of: Say, told: str) -> Table:
        rows = [row(label, first, of_base), *(row(arm, kinds, of) for arm, kinds in found.items())]
        return Table(["Kind of token", *first], rows, caption=told)

    return [
        table(
            "Share of the tokens", lambda c: f"{100 * c.tokens / total:.1f} %", lambda c: _nats(c.change),
            "Mean change of log p, nats (95 % interval over chats).",
        ),
        table(
            "Tokens", lambda c: f"{c.tokens}", lambda c: _percent(c.fell),
            "Tokens that are less probable than before, % of their kind (95 % interval over chats).",
        ),
        table(
            "Base", lambda c: f"{100 * c.low_before:.1f}", lambda c: _percent(c.low_after),
            "Tokens below p = 0.1, % of their kind (95 % interval over chats).",
        ),
        Table(
            ["Kind of token", *first],
            [row(arm, kinds, lambda c: f"{100 * c.of_low:.0f}") for arm, kinds in found.items()],
            caption="What the tokens below p = 0.1 are, %.",
        ),
    ]  # fmt: skip


def _nats(mean: Mean) -> str:
    return f"{mean.value:+.2f} ({mean.low:+.2f}{JOINED}…{JOINED}{mean.high:+.2f})"


def _percent(mean: Mean) -> str:
    return f"{100 * mean.value:.1f} ({100 * mean.low:.1f}{JOINED}–{JOINED}{100 * mean.high:.1f})"
