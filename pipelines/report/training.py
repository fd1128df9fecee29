"""Training: loss curves of every trained version, and what the networks predict beside what happened."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

from components.telemetry.charts import Curve, curves, small_multiples
from components.telemetry.report import Block, Facts, Figure, Gallery, Heading, Section, Text
from data_contracts.lineage import StageRecord
from pipelines.estimate import spoken
from pipelines.report.reading import Reader

_REPETITION = re.compile(r"-\d+$")
"""How the stages of trainings end that repeat or follow each other"""
_NOT_LOSSES = {"step", "seconds", "lr", "learning_rate"}
_FAMILIES = {
    "GE-Base: the world model": {
        "ge_base.codec": "Codec",
        "ge_base.stage1": "Stage 1: multi-rate",
        "ge_base.stage2": "Stage 2: low frequency",
    },
    "GE-Act: the policy": {
        "ge_act.pretrain": "Phase 1: action pretraining",
        "ge_act.adapt": "Phase 2: video adaptation",
        "ge_act.specialize": "Phase 3: action specialization",
        "ge_act.from_scratch": "Control: the same network without GE-Base",
    },
    "DFT: fine-tuning": {
        "dft.base": "Base model",
        "dft.sft": "SFT",
        "dft.dft": "DFT",
        "dft.iw-sft": "iw-SFT",
        "dft.asft": "ASFT",
        "dft.offline-sft": "RFT: SFT on own right answers",
        "dft.offline-dft": "DFT on own right answers",
        "dft.dpo": "DPO on own answers",
        "dft.grpo": "GRPO, online",
        "dft.ppo": "PPO-style, online",
    },
}


def sections(reader: Reader) -> list[Section]:
    trained: dict[str, list[StageRecord]] = {}
    for _, record in reader.versions:
        if record.kind == "models":
            trained.setdefault(_REPETITION.sub("", record.stage), []).append(record)
    named = {stage for titles in _FAMILIES.values() for stage in titles}
    others = {stage: stage for stage in trained if stage not in named}
    found = []
    for family, titles in {**_FAMILIES, "Training": others}.items():
        blocks: list[Block] = []
        for stage, title in titles.items():
            records = trained.get(stage, [])
            inner = _blocks(reader, records[0]) if len(records) == 1 else _together(reader, records)
            blocks += [Heading(title), *inner] if inner else []
        if blocks:
            found.append(Section(family, blocks))
    return found


def _together(reader: Reader, records: Sequence[StageRecord]) -> list[Block]:
    """Trainings that repeat each other, or follow each other: a panel for each quantity, a curve for each training."""
    found = {r.stage.rpartition("-")[2]: lines for r in records if (lines := _lines(reader, r))}
    panels: dict[str, list[Curve]] = {}
    for name, lines in found.items():
        for quantity in _quantities(lines):
            panels.setdefault(quantity, []).append(_drawn(lines, quantity, name))
    if not panels:
        return []
    steps = ", ".join(dict.fromkeys(f"{lines[-1]['step']:,.0f}" for lines in found.values()))
    chart = small_multiples(panels, "step", columns=min(3, len(panels)))
    return [Figure(chart, wide=True, caption=f"{len(found)} trainings of {steps} steps.")]


def _blocks(reader: Reader, record: StageRecord) -> list[Block]:
    blocks: list[Block] = []
    if lines := _lines(reader, record):
        blocks += _losses(lines)
    for path, caption in (
        ("preview.mp4", "Predicted beside true video, from held-out episodes."),
        ("preview.png", "Predicted beside true frames, from held-out episodes."),
        ("actions.png", "Predicted and recorded actions of a held-out episode."),
    ):
        if reader.paths(record, path, path):
            blocks.append(reader.media(record, path, caption))
    more = reader.shown(record, reader.paths(record, "previews/", ".png", ".mp4"))
    if more:
        blocks.append(Gallery(more))
    return blocks


def _lines(reader: Reader, record: StageRecord) -> list[dict[str, float]]:
    held = reader.paths(record, "losses.jsonl", "losses.jsonl")
    return parse_losses(reader.read(record, "losses.jsonl")) if held else []


def parse_losses(data: bytes) -> list[dict[str, float]]:
    """The lines of `losses.jsonl` that are JSON objects with a step; others are left out."""
    lines = []
    for text in data.decode("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int | float):
            lines.append({k: float(v) for k, v in line.items() if isinstance(v, int | float)})
    return lines


def _losses(lines: list[dict[str, float]]) -> list[Block]:
    names = _quantities(lines)
    drawn = [_drawn(lines, name, name) for name in names]
    last = lines[-1]
    facts = [("Steps", f"{last['step']:,.0f}"), *((f"Last {n}", f"{last[n]:.4g}") for n in names if n in last)]
    if "seconds" in last:
        facts.append(("Training time", spoken(last["seconds"])))
    if not all(math.isfinite(line.get("loss", 0.0)) for line in lines):
        return [Facts(facts), Text("The loss was not finite at some steps.", "bad"), _chart(drawn)]
    return [Facts(facts), _chart(drawn)]


def _quantities(lines: list[dict[str, float]]) -> list[str]:
    """What was measured, the loss first; five at most."""
    return sorted({name for line in lines for name in line} - _NOT_LOSSES, key=lambda n: (n != "loss", n))[:5]


def _drawn(lines: list[dict[str, float]], quantity: str, label: str) -> Curve:
    points = [(line["step"], line[quantity]) for line in lines if quantity in line]
    return Curve(label, [x for x, _ in points], [y for _, y in points])


def _chart(drawn: list[Curve]) -> Figure:
    return Figure(curves(drawn, "step", "loss", log_y=True), caption="Loss by step.")
