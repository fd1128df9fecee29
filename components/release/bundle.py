"""A policy bundle from the versions that made it, and the card that tells a person what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from components.envisioner.config import NetworkConfig
from components.ge_base.frames import TableMeta
from components.release import rules
from components.release.decision import gate_and_lineage
from components.store.errors import NotFound, OrreryError
from components.store.stage import Workspace
from data_contracts.action import ActionSchema
from data_contracts.base import Contract
from data_contracts.bundle import MemoryPolicy, PolicyBundle
from data_contracts.evaluation import EvaluationResult
from data_contracts.lineage import InputRef, Metric, StageRecord
from data_contracts.release import Decision

C = TypeVar("C", bound=Contract)
EXAMPLE_INSTRUCTIONS = 20


class BundleIncomplete(OrreryError):
    """A part of the policy is missing or unreadable; the message names it and the version that should hold it."""


@dataclass(frozen=True)
class Parts:
    """What training and evaluation fixed about a policy."""

    network: NetworkConfig
    action: ActionSchema
    table: TableMeta
    weights: Path
    codec: Path
    execute_steps: int
    memory: MemoryPolicy
    sampling_steps: int


def gather(ws: Workspace) -> Parts:
    """The parts from the inputs `model`, `codec`, `frames` and `evaluation`. Raises BundleIncomplete.

    How the policy is run (steps to execute, memory stride, sampling steps) is read from the evaluation: what is
    published is what was evaluated.
    """
    network = _read(ws, "model", "network.json", NetworkConfig)
    settings = ws.inputs["evaluation"].config
    return Parts(
        network=network,
        action=_read(ws, "model", "action.json", ActionSchema),
        table=_read(ws, "frames", "episodes.json", TableMeta),
        weights=_file(ws, "model", "model.safetensors"),
        codec=_file(ws, "codec", "codec.safetensors"),
        execute_steps=_setting(settings, "execute_steps"),
        memory=MemoryPolicy(frames=network.video.memory_frames, stride_steps=_setting(settings, "memory_stride_steps")),
        sampling_steps=_setting(settings, "sampling_steps"),
    )


def build(
    policy: str, parts: Parts, inputs: Mapping[str, StageRecord], evaluation: Mapping[str, Metric]
) -> PolicyBundle:
    """The bundle; `inputs` hold `model` and `codec`, and all of them become its lineage. Raises BundleIncomplete."""
    lineage: dict[str, InputRef] = {name: record.as_input() for name, record in inputs.items()}
    lineage |= {name: ref for name, ref in inputs["frames"].inputs.items() if name not in lineage}
    try:
        return PolicyBundle(
            policy=policy,
            embodiment=parts.table.embodiment,
            network=parts.network.model_dump(mode="json"),
            weights=inputs["model"].object("model.safetensors"),
            codec=inputs["codec"].object("codec.safetensors"),
            cameras=parts.table.cameras,
            image_height=parts.network.image_height,
            image_width=parts.network.image_width,
            action=parts.action,
            memory=parts.memory,
            control_rate_hz=parts.action.rate_hz,
            execute_steps=parts.execute_steps,
            sampling_steps=parts.sampling_steps,
            instructions=tuple(sorted({e.instruction for e in parts.table.episodes}))[:EXAMPLE_INSTRUCTIONS],
            lineage=lineage,
            evaluation=dict(evaluation),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "bundle"
        raise BundleIncomplete(f"the bundle of {policy} can't be built: {where}: {first['msg']}") from error


def evaluation_metrics(results: Mapping[str, EvaluationResult]) -> dict[str, Metric]:
    """Per task and arm: rate, interval, episodes; what a bundle and a card say of the evaluation."""
    out: dict[str, Metric] = {}
    for arm, result in results.items():
        for task, count in rules.counts(result).items():
            low, high = rules.interval(count)
            name = f"{arm}/{task}"
            out |= {f"{name}/success": round(count.rate, 4), f"{name}/episodes": count.episodes}
            out |= {f"{name}/low": low, f"{name}/high": high}
    return out


def write(folder: Path, bundle: PolicyBundle, parts: Parts, decision: Decision, version: str) -> None:
    """`bundle.json`, the weights, the codec and `card.md` of one version."""
    shutil.copyfile(parts.weights, folder / bundle.weights.path)
    shutil.copyfile(parts.codec, folder / bundle.codec.path)
    (folder / "bundle.json").write_text(json.dumps(bundle.model_dump(mode="json"), indent=2, sort_keys=True))
    (folder / "card.md").write_text(card(bundle, decision, version))


def card(bundle: PolicyBundle, decision: Decision, version: str) -> str:
    """The model card, in Markdown."""
    action = bundle.action
    seconds = bundle.execute_steps / bundle.control_rate_hz
    lines = [
        f"# {bundle.policy} {version}",
        "",
        f"A GE-Act policy for `{bundle.embodiment}`: it sees {len(bundle.cameras)} cameras "
        f"({', '.join(bundle.cameras)}; {bundle.image_width}x{bundle.image_height} RGB), the robot's state and an "
        f"instruction, and answers with {action.chunk} {action.form} actions in `{action.space}` space "
        f"({action.width} wide, {action.rate_hz:g} Hz). Served actions are absolute.",
        "",
        f"- Execute {bundle.execute_steps} steps ({seconds:.2f} s) of a chunk, then ask again.",
        f"- Memory: {bundle.memory.frames} frames, one kept after every {bundle.memory.stride_steps} executed steps.",
        f"- Action sampling: {bundle.sampling_steps} Euler steps.",
        "",
        "## Instructions it was trained on",
        "",
        *(f"- {text}" for text in bundle.instructions),
        "",
        "Other instructions, scenes, robots and camera places were not tried.",
        "",
        "## Closed-loop evaluation (simulation, held-out seeds)",
        "",
        "| arm | task | success | 95 % interval | episodes |",
        "|---|---|---|---|---|",
        *_evaluation_rows(bundle.evaluation),
        "",
        *gate_and_lineage(decision, bundle.lineage),
        f"| weights | `{bundle.weights.path}` | `{bundle.weights.sha256}` |",
        f"| codec | `{bundle.codec.path}` | `{bundle.codec.sha256}` |",
        "",
    ]
    return "\n".join(lines)


def _evaluation_rows(metrics: Mapping[str, Metric]) -> list[str]:
    rows = []
    for name in sorted(n.removesuffix("/success") for n in metrics if n.endswith("/success")):
        arm, task = name.split("/", 1)
        interval = f"{metrics[f'{name}/low']} to {metrics[f'{name}/high']}"
        rows.append(f"| {arm} | {task} | {metrics[f'{name}/success']} | {interval} | {metrics[f'{name}/episodes']} |")
    return rows


def _file(ws: Workspace, name: str, path: str) -> Path:
    try:
        return ws.fetch(name, path)
    except (KeyError, NotFound) as error:
        raise BundleIncomplete(f"the policy lacks {path}: {_where(ws, name)} does not hold it") from error


def _read(ws: Workspace, name: str, path: str, contract: type[C]) -> C:
    try:
        return contract.model_validate_json(_file(ws, name, path).read_bytes())
    except ValidationError as error:
        raise BundleIncomplete(f"{path} of {_where(ws, name)} is not usable: {error.errors()[0]['msg']}") from error


def _where(ws: Workspace, name: str) -> str:
    record = ws.inputs.get(name)
    return record.prefix if record else f"the input {name!r} (not given)"


def _setting(config: Mapping[str, object], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BundleIncomplete(f"the evaluation's configuration does not say {name}; evaluate the policy again")
    return value
