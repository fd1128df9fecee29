"""R-Zero: the curriculum as it moves, what the players earned, and whether the labels were right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from components.telemetry.charts import Curve, Interval, curves, intervals
from components.telemetry.report import Block, Details, Figure, Row, Section, Table, Text, Verdict
from data_contracts.lineage import StageRecord
from data_contracts.r_zero import Audit, LabelSummary, PoolSummary, Selection
from pipelines.report import rollouts
from pipelines.report.reading import Reader


def sections(reader: Reader) -> list[Section]:
    found = [*_selection(reader), *_curriculum(reader), *_training(reader)]
    return [Section("R-Zero", found)] if found else []


def _selection(reader: Reader) -> Iterator[Block]:
    for record in reader.holding("selection.json"):
        if record.stage != "r_zero.select":  # the published model bears it, too
            continue
        if (selection := reader.parse(record, "selection.json", Selection)) is not None:
            best, played = selection.iterations[selection.best], len(selection.iterations)
            if selection.stopped:
                asked = f" of {selection.asked}" if selection.asked else ""
                yield Verdict(f"Stopped after iteration {played}{asked}", "warn", [selection.stopped])
            start = [("base", selection.base)] if selection.base else []
            rows = [
                Interval(name, score.value, score.low, score.high)
                for name, score in [*start, *((i.name, i.score) for i in selection.iterations)]
            ]
            yield Figure(
                intervals(rows, "held-out avg@n, right % (95 % interval over problems)"),
                caption=f"The best is {best.name}: {best.model}. Intervals that overlap are no proof of a difference.",
            )


def _curriculum(reader: Reader) -> Iterator[Block]:
    labelled = [
        (_turn(record), summary)
        for record in reader.holding("labels.json")
        if (summary := reader.parse(record, "labels.json", LabelSummary)) is not None
    ]
    if not labelled:
        return
    labelled.sort(key=lambda pair: pair[0])
    pools = {
        _turn(record): pool
        for record in reader.holding("pool.json")
        if (pool := reader.parse(record, "pool.json", PoolSummary)) is not None
    }
    repeated = " The repetitions of each are counted together." if any(turn.seed for turn, _ in labelled) else ""
    yield Figure(
        curves(_votes(labelled), "share of the majority, p", "share of questions"),
        caption="How hard each iteration's questions are for the solver that answers them; a challenger aims at 1/2."
        + repeated,
    )
    columns = [
        "Questions",
        "Responses",
        "Asked",
        "Clusters",
        "Kept",
        "Too easy",
        "Too hard",
        "Labels right",
        "All right",
    ]
    yield Table(
        columns,
        [_row(str(turn), summary, pools.get(turn)) for turn, summary in labelled],
        caption="Labels right: the majority beside the true answer, of the kept questions whose true answer is known, "
        "or as a judge finds it; what the judge gives no verdict on counts as wrong.",
    )
    for turn, summary in labelled:
        refused = pools[turn].refused if turn in pools else {}
        told = ", ".join(f"{count} {code}" for code, count in refused.items()) or "none"
        yield Details(f"Questions {turn}", [Text(f"Refused: {told}."), rollouts.examples(summary.examples)])


def _votes(labelled: list[tuple[Turn, LabelSummary]]) -> list[Curve]:
    """A curve for each iteration or comparison, over its repetitions."""
    lines = []
    for name in dict.fromkeys(turn.name for turn, _ in labelled):
        found = [summary.counts for turn, summary in labelled if turn.name == name]
        votes = [sum(column) for column in zip(*(counts.by_votes for counts in found), strict=True)]
        asked = max(1, sum(counts.asked for counts in found))
        lines.append(Curve(name, [n / (len(votes) - 1) for n in range(len(votes))], [n / asked for n in votes]))
    return lines


def _row(name: str, summary: LabelSummary, pool: PoolSummary | None) -> Row:
    counts = summary.counts
    return [
        name, str(pool.asked) if pool else "", str(counts.asked), str(pool.clusters) if pool else "", str(counts.kept),
        str(counts.too_easy), str(counts.too_hard), _right(summary.kept), _right(summary.every),
    ]  # fmt: skip


def _right(audit: Audit) -> str:
    if audit.right is None:
        return "not audited"
    share = audit.right
    told = f"{100 * share.value:.0f} % ({100 * share.low:.0f}–{100 * share.high:.0f}) of {audit.known}"
    return told + (f", {audit.judged} by a judge ({audit.unparsable} without a verdict)" if audit.judged else "")


def _training(reader: Reader) -> Iterator[Block]:
    for player in ("challenger", "solver"):
        every = {
            _turn(record): record
            for record in reader.holding("rollouts.jsonl")
            if record.stage.startswith(f"r_zero.{player}-")
        }
        found: dict[str, StageRecord] = {}
        for turn in sorted(every):  # the first repetition of each
            found.setdefault(turn.name, every[turn])
        first = " Of the first repetition." if len(found) < len(every) else ""
        yield from rollouts.curves(reader, found, f"The {player}'s rollouts: means of the batch.{first}")
        yield from rollouts.written(
            reader, {f"What the {player} wrote, iteration {name}": record for name, record in found.items()}
        )


class Turn(NamedTuple):
    """An iteration or a comparison (`1`, `untrained`), and which repetition of it; empty where there is but one."""

    name: str
    seed: str

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}" if self.seed else self.name


def _turn(record: StageRecord) -> Turn:
    """Of `r_zero.labels-1` or `r_zero.labels-1-seed-0`."""
    name, _, seed = record.stage.partition("-")[2].partition("-seed-")
    return Turn(name, seed)
