"""The GE-Act stages: action pretraining, video adaptation, action specialization, and closed-loop evaluation.

Importing this file is cheap: what needs torch or MuJoCo is imported when a stage really has to work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from components.ge_act.config import ActionStageConfig, EvaluateConfig
from components.ge_base.config import VideoStageConfig
from components.ge_base.stages import TRAINING_SOURCES, train_video
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.stage import Workspace, run_stage
from data_contracts.action import ActionSchema, action_names
from data_contracts.dataset import DatasetManifest
from data_contracts.embodiment import load_embodiment
from data_contracts.lineage import Metric, StageRecord

ACTION_SOURCES = (*TRAINING_SOURCES, "components/ge_act/train.py", "components/ge_act/stages.py")
EVALUATION_SOURCES = ("components/envisioner", "components/robots", "components/ge_act")


def pretrain(
    store: Store, config: ActionStageConfig, seed: int, dataset: StageRecord, frames: StageRecord, codec: StageRecord,
    video: StageRecord,
) -> StageRecord:  # fmt: skip
    """Phase 1, action pretraining: GE-Base frozen, the action expert trained on its features (paper, Sec. 3.2)."""
    inputs = {"dataset": dataset, "frames": frames, "codec": codec, "video": video}
    return _train_action(store, "ge_act.pretrain", config, seed, inputs)


def adapt(
    store: Store, config: VideoStageConfig, seed: int, frames: StageRecord, codec: StageRecord, video: StageRecord
) -> StageRecord:
    """Phase 2, video adaptation: GE-Base trained on the task's own video; the expert rests (paper, Sec. 3.2)."""
    return train_video(store, "ge_act.adapt", config, seed, {"frames": frames, "codec": codec, "video": video})


def specialize(
    store: Store, config: ActionStageConfig, seed: int, dataset: StageRecord, frames: StageRecord, codec: StageRecord,
    video: StageRecord, expert: StageRecord,
) -> StageRecord:  # fmt: skip
    """Phase 3, action specialization: the adapted video network and the pretrained expert, all trained on actions."""
    inputs = {"dataset": dataset, "frames": frames, "codec": codec, "video": video, "expert": expert}
    return _train_action(store, "ge_act.specialize", config, seed, inputs)


def from_scratch(
    store: Store, config: ActionStageConfig, seed: int, dataset: StageRecord, frames: StageRecord, codec: StageRecord
) -> StageRecord:
    """The control arm: the same network without GE-Base's pretraining, all trained on actions."""
    inputs = {"dataset": dataset, "frames": frames, "codec": codec}
    return _train_action(store, "ge_act.from_scratch", config, seed, inputs)


def evaluate(
    store: Store, config: EvaluateConfig, seed: int, frames: StageRecord, codec: StageRecord,
    policy: StageRecord | None = None,
) -> StageRecord:  # fmt: skip
    """Closed-loop success of one arm in simulation on held-out seeds, with a 95 % Wilson interval."""
    inputs = {"frames": frames, "codec": codec} | ({"policy": policy} if policy is not None else {})
    if config.arm in ("policy", "from-scratch") and policy is None:
        raise ConfigurationError(f"arm {config.arm!r} needs a policy to evaluate; pass one, or evaluate 'expert'")

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.ge_act.evaluate import ArmFiles, evaluate, snapshots
        from components.telemetry.progress import progress
        from data_contracts.interval import wilson

        files = ArmFiles(
            model=ws.fetch_tree("policy") if policy is not None else None,
            codec=ws.fetch("codec", "codec.safetensors"),
            frames=ws.fetch_tree("frames") if config.arm == "mean-action" else None,
        )
        episodes = (config.episodes + config.curve_episodes * len(snapshots(config, files))) * len(config.tasks)
        with progress(episodes, f"evaluating {config.arm}", "episodes") as bar:
            result = evaluate(config, files, seed, ws.out, lambda n, success: bar.advance(n))
        metrics: dict[str, Metric] = {"arm": config.arm, "episodes": len(result.episodes)}
        for task, level in config.tasks:
            outcomes = [e for e in result.of_task(task) if e.level == level]
            wins = sum(e.success for e in outcomes)
            low, high = wilson(wins, len(outcomes))
            name = f"{task}-{level}"
            metrics |= {f"{name}_success": round(wins / len(outcomes), 4), f"{name}_low": low, f"{name}_high": high}
        return metrics

    return run_stage(
        store=store, stage=f"ge_act.evaluate-{config.arm}", kind="evaluations", name=config.name, inputs=inputs,
        config=config, seed=seed, sources=EVALUATION_SOURCES, build=build,
    )  # fmt: skip


def _train_action(
    store: Store, stage: str, config: ActionStageConfig, seed: int, inputs: dict[str, StageRecord]
) -> StageRecord:
    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.launcher.train import train
        from components.training.job import Job

        schema = action_schema(config, ws.fetch("dataset", "manifest.json"))
        schema_file = ws.scratch / "schema.json"
        schema_file.write_text(schema.model_dump_json())
        paths = {
            "frames": str(ws.fetch_tree("frames")),
            "codec": str(ws.fetch("codec", "codec.safetensors")),
            "schema": str(schema_file),
            "phase": stage.removeprefix("ge_act."),
        }
        paths |= {part: str(ws.fetch(part, "model.safetensors")) for part in ("video", "expert") if part in inputs}
        job = Job(
            entry="components.ge_act.train:trainee", config=config.model_dump(mode="json"), train=config.train,
            seed=seed, inputs=paths, out=str(ws.out), scratch=str(ws.scratch),
        )  # fmt: skip
        return train(ws, job)

    return run_stage(
        store=store, stage=stage, kind="models", name=config.name, inputs=inputs, config=config, seed=seed,
        sources=ACTION_SOURCES, build=build,
    )  # fmt: skip


def action_schema(config: ActionStageConfig, manifest_file: Path) -> ActionSchema:
    """The schema of the policy's actions, with the dataset's statistics.

    Raises:
        ConfigurationError: the network's action width or chunk is not the embodiment's or the dataset's.
    """
    manifest = DatasetManifest.model_validate(json.loads(manifest_file.read_text()))
    names = action_names(config.space, load_embodiment(manifest.embodiment).joints_per_arm)
    expert = config.network.action
    assert expert is not None  # held by ActionStageConfig
    if expert.action_width != len(names):
        raise ConfigurationError(
            f"network.action.action_width is {expert.action_width}, but {config.space} actions of "
            f"{manifest.embodiment} have {len(names)} values; set network.action.action_width={len(names)}"
        )
    if config.rate_hz != manifest.fps:
        raise ConfigurationError(
            f"rate_hz is {config.rate_hz} but the dataset has {manifest.fps}; set rate_hz={manifest.fps}"
        )
    statistics = manifest.statistics_of(config.space, config.form)
    return ActionSchema(
        space=config.space, form=config.form, width=len(names), names=names, chunk=expert.chunk, rate_hz=config.rate_hz,
        action=statistics.normalisation, state=manifest.state_statistics[config.space],
    )  # fmt: skip
