"""Closed-loop evaluation: the arms side by side, task by task, with intervals, and films of episodes."""

from __future__ import annotations

from components.telemetry.charts import Curve, Interval, curves, intervals
from components.telemetry.report import Block, Cell, Details, Figure, Gallery, Row, Section, Table, Text, Video
from data_contracts.evaluation import EvaluationResult
from data_contracts.interval import wilson
from data_contracts.lineage import StageRecord
from pipelines.report.reading import Reader
from pipelines.report.training import parse_losses

_ARMS = {
    "expert": "Scripted expert",
    "policy": "GE-Act",
    "from-scratch": "The same network without GE-Base",
    "mean-action": "Replays the mean action",
}
MOST_VIDEOS = 4


def sections(reader: Reader) -> list[Section]:
    results = _results(reader)
    if not results:
        return []
    tasks = sorted({(e.task, e.level) for _, result in results for e in result.episodes})
    blocks: list[Block] = []
    for task, level in tasks:
        rows = [_interval(result, task, level) for _, result in results if _of(result, task, level)]
        blocks.append(Figure(intervals(rows, "success, % (95 % Wilson interval)"), caption=f"{task}, level {level}"))
    blocks.append(_table(results, tasks))
    for record, result in results:
        blocks += _curve(reader, record)
        blocks += _films(reader, record, result)
    lead = "Held-out seeds in simulation; success is judged from physics, and every arm sees the same scenes."
    return [Section("Closed loop", blocks, lead=lead)]


def facts(reader: Reader) -> list[tuple[str, str]]:
    """The policy's success, for the head of the page."""
    for _, result in _results(reader):
        if result.arm == "policy":
            low, high = wilson(result.successes, len(result.episodes))
            share = result.successes / len(result.episodes)
            return [("Policy's success", f"{100 * share:.0f} % ({100 * low:.0f}–{100 * high:.0f} %)")]
    return []


def _results(reader: Reader) -> list[tuple[StageRecord, EvaluationResult]]:
    found = []
    for record in reader.holding("result.json"):
        if record.stage.startswith("ge_act.evaluate"):
            result = reader.parse(record, "result.json", EvaluationResult)
            if result is not None:
                found.append((record, result))
    order = list(_ARMS)
    return sorted(found, key=lambda item: order.index(item[1].arm))


def _of(result: EvaluationResult, task: str, level: int) -> list[bool]:
    return [e.success for e in result.of_task(task) if e.level == level]


def _interval(result: EvaluationResult, task: str, level: int) -> Interval:
    outcomes = _of(result, task, level)
    low, high = wilson(sum(outcomes), len(outcomes))
    return Interval(_ARMS[result.arm], sum(outcomes) / len(outcomes), low, high)


def _table(results: list[tuple[StageRecord, EvaluationResult]], tasks: list[tuple[str, int]]) -> Table:
    rows: list[Row] = []
    for _, result in results:
        for task, level in tasks:
            outcomes = _of(result, task, level)
            if outcomes:
                value = _interval(result, task, level)
                steps = [e.steps for e in result.of_task(task) if e.level == level and e.success]
                rows.append(
                    [
                        value.label, task, str(level), f"{sum(outcomes)} of {len(outcomes)}",
                        Cell(f"{100 * value.value:.0f} %", share=value.value),
                        f"{100 * value.low:.0f}–{100 * value.high:.0f} %",
                        f"{sum(steps) / len(steps) / 30:.1f} s" if steps else "",
                    ]
                )  # fmt: skip
    return Table(["Arm", "Task", "Level", "Successes", "Rate", "95 % interval", "Mean time to success"], rows)


def _curve(reader: Reader, record: StageRecord) -> list[Block]:
    """Success against training minutes, where a stage measured it."""
    if not reader.paths(record, "success_curve.jsonl", "success_curve.jsonl"):
        return []
    lines = [x for x in parse_losses(reader.read(record, "success_curve.jsonl")) if {"minutes", "success"} <= x.keys()]
    if not lines:
        return []
    line = Curve("success", [x["minutes"] for x in lines], [100 * x["success"] for x in lines])
    return [Figure(curves([line], "training minutes", "success, %"), caption="Success against training time.")]


def _films(reader: Reader, record: StageRecord, result: EvaluationResult) -> list[Block]:
    kept = [e for e in result.episodes if e.video and any(o.path == e.video for o in record.objects)]
    kept.sort(key=lambda e: (not e.success, e.task, e.seed))
    wins, losses = [e for e in kept if e.success], [e for e in kept if not e.success]
    chosen = [*wins[: MOST_VIDEOS - min(1, len(losses))], *losses][:MOST_VIDEOS]
    films: list[Figure | Video] = []
    for episode in chosen:
        outcome = f"success after {episode.steps / 30:.1f} s" if episode.success else "no success"
        item = reader.media(
            record, episode.video, f"{episode.task}, level {episode.level}, seed {episode.seed}: {outcome}",
            "good" if episode.success else "bad",
        )  # fmt: skip
        if not isinstance(item, Text):
            films.append(item)
    blocks: list[Block] = []
    if films:
        blocks.append(Details(f"Films: {_ARMS[result.arm]}", [Gallery(films)], open=result.arm == "policy"))
    plots = reader.shown(record, reader.paths(record, "actions", ".png"), f"Actions of {_ARMS[result.arm]}.")
    return [*blocks, Gallery(plots, wide=True)] if plots else blocks
