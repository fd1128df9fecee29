"""R-Zero: the curriculum as it moves, what the players earned, and whether the labels were right."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic import ValidationError

from components.store.errors import OrreryError
from components.telemetry.charts import Curve, Interval, curves, intervals, small_multiples
from components.telemetry.report import Block, Details, Figure, Row, Section, Table, Text, Verdict
from data_contracts.lineage import StageRecord
from data_contracts.r_zero import Audit, LabelSummary, PoolSummary, Selection
from data_contracts.rollouts import Example, RolloutSummary
from pipelines.report.reading import Reader

Rollouts = list[RolloutSummary]
ROLLOUT_CURVES: dict[str, Callable[[RolloutSummary], float | None]] = {
    "Reward": lambda r: r.reward,
    "Uncertainty of the solver": lambda r: r.of_task.get("uncertainty"),
    "Share of its cluster": lambda r: r.of_task.get("repetition"),
    "Proper questions": lambda r: r.of_task.get("proper"),
    "Groups that teach": lambda r: r.informative,
    "Tokens": lambda r: r.tokens,
}


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
        caption="Labels right: the majority beside the true answer, of the kept questions whose true answer is known.",
    )
    for name, summary in labelled:
        refused = pools[name].refused if name in pools else {}
        told = ", ".join(f"{count} {code}" for code, count in refused.items()) or "none"
        yield Details(f"Questions {name}", [Text(f"Refused: {told}."), _examples(summary.examples)])


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
    return f"{100 * share.value:.0f} % ({100 * share.low:.0f}–{100 * share.high:.0f}) of {audit.known}"


def _training(reader: Reader) -> Iterator[Block]:
    for player in ("challenger", "solver"):
        found = [
            (_iteration(record), rollouts)
            for record in reader.holding("rollouts.jsonl")
            if record.stage.startswith(f"r_zero.{player}-") and (rollouts := _rollouts(reader, record))
        ]
        panels = {
            title: lines
            for title, value in ROLLOUT_CURVES.items()
            if (lines := [line for name, rollouts in found if (line := _curve(name, rollouts, value)).y])
        }
        if panels:
            yield Figure(
                small_multiples(panels, "rollout", columns=3), wide=True,
                caption=f"The {player}'s rollouts in each iteration: means of the batch.",
            )  # fmt: skip
        for name, rollouts in found:
            yield Details(f"What the {player} wrote, iteration {name}", [_examples(rollouts[-1].examples)])


def _rollouts(reader: Reader, record: StageRecord) -> Rollouts:
    try:
        lines = reader.read(record, "rollouts.jsonl").splitlines()
        return [RolloutSummary.model_validate_json(line) for line in lines]
    except (ValidationError, OrreryError, KeyError):
        return []


def _curve(name: str, rollouts: Rollouts, value: Callable[[RolloutSummary], float | None]) -> Curve:
    points = [(r.rollout, found) for r in rollouts if (found := value(r)) is not None]
    return Curve(name, [x for x, _ in points], [y for _, y in points])


def _examples(examples: tuple[Example, ...]) -> Table:
    return Table(["Text", ""], [[example.text, example.note] for example in examples])


def _iteration(record: StageRecord) -> str:
    return record.stage.rpartition("-")[2]
