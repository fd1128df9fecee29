"""A paper's table: a row per arm over its repetitions, and where the paper's own arm does not win."""

from __future__ import annotations

from collections.abc import Sequence

from components.telemetry.charts import Interval, intervals
from components.telemetry.report import Block, Figure, Row, Section, Table
from data_contracts.arms import ArmOnSet, ArmRow, ArmTable, Difference
from pipelines.report.reading import Reader
from pipelines.report.token_classes import tables

NAMES = {
    "base": "Base", "sft": "SFT", "dft": "DFT", "iw_sft": "iw-SFT", "asft": "ASFT", "rft": "RFT (SFT, own answers)",
    "own_dft": "DFT, own answers", "dpo": "DPO, own answers",
    "grpo": "GRPO, online", "ppo": "PPO-style, online",
    "first": "Iteration 1", "second": "Iteration 2", "third": "Iteration 3", "untrained": "Base challenger",
    "unpenalised": "No repetition penalty", "unfiltered": "No filter of labels",
}  # fmt: skip


def sections(reader: Reader) -> list[Section]:
    return [
        Section("The arms side by side", _blocks(table), lead=_lead(table))
        for record in reader.holding("table.json")
        if (table := reader.parse(record, "table.json", ArmTable)) is not None
    ]


def _lead(table: ArmTable) -> str:
    return (
        f"Each arm was trained {len(table.seeds)} times from one base (seeds {', '.join(map(str, table.seeds))}). "
        "Intervals are of 95 %: over problems, what other problems would have shown; over seeds, what other trainings "
        "would have. Differences are paired, problem by problem; one whose interval holds 0 is no finding."
    )


def _blocks(table: ArmTable) -> list[Block]:
    blocks: list[Block] = []
    for name in next(iter(table.rows.values())).sets:
        rows = [(_name(arm), row.sets[name]) for arm, row in table.rows.items()]
        bars = [Interval(arm, s.mean.value, s.mean.low, s.mean.high) for arm, s in rows]
        label = "avg@n, right % (95 % interval over problems)"
        blocks.append(Figure(intervals(bars, label), caption=f"{name}: {rows[0][1].problems} problems"))
        others = list(dict.fromkeys(other for _, s in rows for other in s.against))
        columns = ["Arm", "avg@n (over problems)", "Over seeds", "Each seed", "Greedy"]
        columns += [f"Against: {_name(other)}" for other in others]
        blocks.append(Table(columns, [_scores(arm, s, others) for arm, s in rows], caption=f"{name}, right %."))
    if table.bimodality_before is not None:
        blocks.append(_analysed(table))
        blocks += tables({_name(arm): row.classes for arm, row in table.rows.items()})
    return blocks


def _analysed(table: ArmTable) -> Block:
    columns = ["Arm", "Bimodality", "Entropy, nats", "Distance", "Tokens a sample", "No box"]
    caption = "On the training chats, means over seeds: Sarle's coefficient, and the weights' change over their size."
    if table.bimodality_before is not None and table.entropy_before is not None:
        caption += f" Before: bimodality {table.bimodality_before:.3f}, entropy {table.entropy_before:.3f}."
    return Table(columns, [_tokens(_name(arm), row) for arm, row in table.rows.items()], caption=caption)


def _scores(arm: str, s: ArmOnSet, others: Sequence[str]) -> Row:
    over_seeds = f"{_percent(s.over_seeds.low)}–{_percent(s.over_seeds.high)}" if s.over_seeds else ""
    return [
        arm, f"{100 * s.mean.value:.1f} ({_percent(s.mean.low)}–{_percent(s.mean.high)})", over_seeds,
        ", ".join(f"{100 * share:.1f}" for share in s.by_seed), f"{100 * s.greedy:.1f}",
        *(_difference(s.against.get(other)) for other in others),
    ]  # fmt: skip


def _difference(d: Difference | None) -> str:
    return f"{100 * d.value:+.1f} ({100 * d.low:+.1f} … {100 * d.high:+.1f})" if d else ""


def _tokens(arm: str, row: ArmRow) -> Row:
    known = [f"{x:.{digits}f}" if x is not None else ""
             for x, digits in ((row.bimodality, 3), (row.entropy, 3), (row.distance, 4))]  # fmt: skip
    return [arm, *known, f"{row.tokens:.0f}", f"{100 * row.unboxed:.0f} %"]


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _name(arm: str) -> str:
    return NAMES.get(arm, arm)
