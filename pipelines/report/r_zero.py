"""R-Zero: the curriculum as it moves, what the players earned, and whether the labels were right."""

from __future__ import annotations

from collections.abc import Iterator

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
        (_iteration(record), summary)
        for record in reader.holding("labels.json")
        if (summary := reader.parse(record, "labels.json", LabelSummary)) is not None
    ]
    if not labelled:
        return
    pools = {
        _iteration(record): pool
        for record in reader.holding("pool.json")
        if (pool := reader.parse(record, "pool.json", PoolSummary)) is not None
    }
    yield Figure(
        curves([_votes(name, summary) for name, summary in labelled], "share of the majority, p", "share of questions"),
        caption="How hard each iteration's questions are for the solver that answers them; a challenger aims at 1/2.",
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
        [_row(name, summary, pools.get(name)) for name, summary in labelled],
        caption="Labels right: the majority beside the true answer, of the kept questions whose true answer is known, "
        "or as a judge finds it; what the judge gives no verdict on counts as wrong.",
    )
    for name, summary in labelled:
        refused = pools[name].refused if name in pools else {}
        told = ", ".join(f"{count} {code}" for code, count in refused.items()) or "none"
        yield Details(f"Questions {name}", [Text(f"Refused: {told}."), rollouts.examples(summary.examples)])


def _votes(name: str, summary: LabelSummary) -> Curve:
    votes, asked = summary.counts.by_votes, max(1, summary.counts.asked)
    return Curve(name, [n / (len(votes) - 1) for n in range(len(votes))], [count / asked for count in votes])


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
        found = {
            _iteration(record): record
            for record in reader.holding("rollouts.jsonl")
            if record.stage.startswith(f"r_zero.{player}-")
        }
        yield from rollouts.curves(reader, found, f"The {player}'s rollouts in each iteration: means of the batch.")
        yield from rollouts.written(
            reader, {f"What the {player} wrote, iteration {name}": record for name, record in found.items()}
        )


def _iteration(record: StageRecord) -> str:
    return record.stage.rpartition("-")[2]
