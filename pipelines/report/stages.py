"""The run itself: its graph, what each stage took, and what went wrong."""

from __future__ import annotations

from components.telemetry.charts import Node, graph
from components.telemetry.report import Block, Cell, Details, Figure, Row, Section, Table, Text, Tone
from data_contracts.lineage import StageStatus
from pipelines.estimate import spoken
from pipelines.report.reading import Reader

SHOWN = 40
"""Stages: more of them are folded, or a page would begin with screens of them."""
_TONES: dict[str, Tone] = {"succeeded": "good", "cached": "good", "failed": "bad", "running": "busy"}


def sections(reader: Reader) -> list[Section]:
    if not reader.run.stages:
        return [Section("Stages", [Text("No stage has started.", "warn")])]
    failed: list[Block] = [
        Text(f"{s.name} failed: {s.message}", "bad") for _, s in reader.run.stages if s.status == "failed"
    ]
    drawn = Figure(
        graph(_nodes(reader)),
        wide=True,
        caption="What each stage takes from which; inputs that another path implies are not drawn.",
    )
    blocks: list[Block] = [drawn, _table(reader)]
    if len(reader.run.stages) > SHOWN:
        blocks = [Details(f"All {len(reader.run.stages)} stages: what takes what from which, and how long", blocks)]
    return [Section("Stages", [*failed, *blocks])]


def _nodes(reader: Reader) -> list[Node]:
    made_by = {record.prefix: status.name for status, record in reader.versions}
    records = {status.name: record for status, record in reader.versions}
    nodes = []
    for _, status in reader.run.stages:
        record = records.get(status.name)
        after = tuple(made_by[i.prefix] for i in record.inputs.values() if i.prefix in made_by) if record else ()
        nodes.append(
            Node(
                status.name,
                _note(reader, status),
                _TONES[status.status],
                after,
                f"{status.name}: {status.prefix or status.status}",
            )
        )
    return nodes


def _note(reader: Reader, status: StageStatus) -> str:
    if status.status == "cached":
        return f"there · made in {spoken(_made_in(reader, status))}"
    return status.status if status.status != "succeeded" else spoken(status.seconds)


def _made_in(reader: Reader, status: StageStatus) -> float:
    return next((record.seconds for s, record in reader.versions if s is status), 0.0)


def _table(reader: Reader) -> Table:
    taken = {id(s): s.seconds if s.status != "cached" else _made_in(reader, s) for _, s in reader.run.stages}
    longest = max(taken.values(), default=0.0) or 1.0
    memory = {id(s): record.peak_memory_bytes for s, record in reader.versions}
    rows: list[Row] = []
    for pipeline, status in reader.run.stages:
        seconds, peak = taken[id(status)], memory.get(id(status), 0)
        rows.append(
            [
                status.name,
                pipeline,
                Cell("already there" if status.status == "cached" else status.status, _TONES[status.status]),
                Cell(spoken(seconds), share=seconds / longest),
                f"{peak / 2**30:.1f} GiB" if peak else "",
                Cell(status.version, code=True),
            ]
        )
    caption = "Time and peak memory of the work that made each version, in this run or an earlier one."
    return Table(["Stage", "Pipeline", "Status", "Time", "Memory", "Version"], rows, caption=caption)
