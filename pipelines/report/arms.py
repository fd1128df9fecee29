"""A paper's table: a row per arm over its repetitions, and where the paper's own arm does not win."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.telemetry.charts import Interval, intervals, small_multiples
from components.telemetry.report import Block, Figure, Row, Section, Table
from data_contracts.arms import ArmOnSet, ArmRow, ArmTable, Difference, Judged
from data_contracts.scores import Share
from pipelines.report.language import histogram
from pipelines.report.reading import Reader
from pipelines.report.token_classes import JOINED, tables

NAMES = {
    "base": "Base", "sft": "SFT", "dft": "DFT", "iw_sft": "iw-SFT", "asft": "ASFT", "rft": "RFT, own answers",
    "own_dft": "DFT, own answers", "own_iw_sft": "iw-SFT, own answers", "dpo": "DPO, own answers",
    "grpo": "GRPO, online", "ppo": "PPO-style, online",
    "first": "Iteration 1", "second": "Iteration 2", "third": "Iteration 3", "untrained": "Base challenger",
    "unpenalised": "No repetition penalty", "unfiltered": "No filter of labels",
}  # fmt: skip


def sections(reader: Reader) -> list[Section]:
    return [
        Section("The arms side by side", [*_blocks(table), *_probabilities(reader)], lead=_lead(table))
        for record in reader.holding("table.json")
        if (table := reader.parse(record, "table.json", ArmTable)) is not None
    ]


def _lead(table: ArmTable) -> str:
    return (
        f"Each arm was trained {len(table.seeds)} times from one base (seeds {', '.join(map(str, table.seeds))}). "
        "Intervals are of 95 %: over problems, what other problems would have shown; over seeds, what other trainings "
        "would have. Differences are paired, problem by problem; one whose interval holds 0 is no finding. Kept: of "
        "the problems that the base solves greedily, those that the arm still does; what is missing is forgotten."
    )


def _blocks(table: ArmTable) -> list[Block]:
    blocks: list[Block] = []
    for name in sorted(next(iter(table.rows.values())).sets, key=lambda name: (name.startswith("harder"), name)):
        rows = [(_name(arm), row.sets[name]) for arm, row in table.rows.items()]
        bars = [Interval(arm, s.mean.value, s.mean.low, s.mean.high) for arm, s in rows]
        label = "avg@n, right % (95 % interval over problems)"
        judged_by = f"{name}: {rows[0][1].problems} problems, SHA-256 {table.files.get(name, 'unknown')}"
        blocks.append(Figure(intervals(bars, label), caption=judged_by))
        others = [arm for arm in table.rows if any(arm in s.against for _, s in rows)]
        columns = ["Arm", "avg@n", "Over seeds", "Each seed", "Greedy", "Kept"]
        columns += [f"Against: {_name(other)}" for other in others]
        blocks.append(Table(columns, [_scores(arm, s, others) for arm, s in rows], caption=f"{name}, right %."))
    if table.bimodality_before is not None:
        blocks.append(_analysed(table))
        blocks += tables({_name(arm): row.classes for arm, row in table.rows.items()})
    return blocks


def _probabilities(reader: Reader) -> list[Block]:
    """A panel per arm: how probable the trained tokens were before, and are after, over all repetitions."""
    judged = [j for record in reader.holding("arms.json") if (j := reader.parse(record, "arms.json", Judged))]
    panels = {}
    for arm in judged[0].arms if judged else ():
        analysed = [t for j in judged if arm in j.arms and (t := j.arms[arm].tokens) is not None]
        if analysed:
            edges = analysed[0].bins
            before, after = (np.sum([getattr(t, when) for t in analysed], axis=0) for when in ("before", "after"))
            panels[_name(arm)] = [histogram("before", edges, before, dashed=True), histogram("after", edges, after)]
    if not panels:
        return []
    caption = "Share of the trained tokens by their probability: the base's, and after each training."
    chart = small_multiples(panels, "probability of the token", columns=3, log_y=True)
    return [Figure(chart, wide=True, caption=caption)]


def _analysed(table: ArmTable) -> Block:
    columns = ["Arm", "Bimodality", "Entropy, nats", "Distance", "Tokens a sample", "No box"]
    caption = "On the training chats, means over seeds: Sarle's coefficient, and the weights' change over their size."
    if table.bimodality_before is not None and table.entropy_before is not None:
        caption += f" Before: bimodality {table.bimodality_before:.3f}, entropy {table.entropy_before:.3f}."
    return Table(columns, [_tokens(_name(arm), row) for arm, row in table.rows.items()], caption=caption)


def _scores(arm: str, s: ArmOnSet, others: Sequence[str]) -> Row:
    return [
        arm, f"{100 * s.mean.value:.1f}{_interval(s.mean)}", _interval(s.over_seeds).strip(" ()"),
        ", ".join(f"{100 * share:.1f}" for share in s.by_seed), f"{100 * s.greedy:.1f}",
        f"{100 * s.kept.value:.0f}{_interval(s.kept)}" if s.kept else "",
        *(_difference(s.against.get(other)) for other in others),
    ]  # fmt: skip


def _difference(d: Difference | None) -> str:
    return f"{100 * d.value:+.1f} ({100 * d.low:+.1f}{JOINED}…{JOINED}{100 * d.high:+.1f})" if d else ""


def _tokens(arm: str, row: ArmRow) -> Row:
    known = [f"{x:.{digits}f}" if x is not None else ""
             for x, digits in ((row.bimodality, 3), (row.entropy, 3), (row.distance, 4))]  # fmt: skip
    return [arm, *known, f"{row.tokens:.0f}", f"{100 * row.unboxed:.0f} %"]


def _interval(share: Share | None) -> str:
    return f" ({100 * share.low:.0f}{JOINED}–{JOINED}{100 * share.high:.0f})" if share else ""


def _name(arm: str) -> str:
    return NAMES.get(arm, arm)
