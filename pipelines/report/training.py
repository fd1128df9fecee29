"""Training: loss curves of every trained version, and what the networks predict beside what happened."""

from __future__ import annotations

import json
import math

from components.telemetry.charts import Curve, curves
from components.telemetry.report import Block, Facts, Figure, Gallery, Heading, Section, Text
from data_contracts.lineage import StageRecord
from pipelines.estimate import spoken
from pipelines.report.reading import Reader

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
    },
}


def sections(reader: Reader) -> list[Section]:
    models = {record.stage: record for _, record in reader.versions if record.kind == "models"}
    named = {stage for titles in _FAMILIES.values() for stage in titles}
    others = {stage: stage for stage in models if stage not in named}
    found = []
    for family, titles in {**_FAMILIES, "Training": others}.items():
        blocks: list[Block] = []
        for stage, title in titles.items():
            inner = _blocks(reader, models[stage]) if stage in models else []
            blocks += [Heading(title), *inner] if inner else []
        if blocks:
            found.append(Section(family, blocks))
    return found


def _blocks(reader: Reader, record: StageRecord) -> list[Block]:
    blocks: list[Block] = []
    if reader.paths(record, "losses.jsonl", "losses.jsonl"):
        lines = parse_losses(reader.read(record, "losses.jsonl"))
        if lines:
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
    names = sorted({name for line in lines for name in line} - _NOT_LOSSES, key=lambda n: (n != "loss", n))[:5]
    drawn = []
    for name in names:
        points = [(line["step"], line[name]) for line in lines if name in line]
        drawn.append(Curve(name, [x for x, _ in points], [y for _, y in points]))
    last = lines[-1]
    facts = [("Steps", f"{last['step']:,.0f}"), *((f"Last {n}", f"{last[n]:.4g}") for n in names if n in last)]
    if "seconds" in last:
        facts.append(("Training time", spoken(last["seconds"])))
    if not all(math.isfinite(line.get("loss", 0.0)) for line in lines):
        return [Facts(facts), Text("The loss was not finite at some steps.", "bad"), _chart(drawn)]
    return [Facts(facts), _chart(drawn)]


def _chart(drawn: list[Curve]) -> Figure:
    return Figure(curves(drawn, "step", "loss", log_y=True), caption="Loss by step.")
