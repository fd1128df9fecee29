"""The GE-Base stages: frames, codec, stage 1 (multi-rate, 57 frames), stage 2 (low frequency, 9 frames at 5 Hz).

Importing this file is cheap: what needs torch is imported when a stage really has to work.
"""

from __future__ import annotations

from collections.abc import Mapping

from components.ge_base.config import CodecStageConfig, FramesConfig, VideoStageConfig
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord

TRAINING_SOURCES = ("components/envisioner", "components/training", "components/ge_base")


def frames(store: Store, config: FramesConfig, seed: int, dataset: StageRecord) -> StageRecord:
    """Decode a dataset version once, at the network's size, into the table that all training stages share."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.ge_base.frames_build import build_table

        return build_table(config, ws.fetch_tree("dataset"), ws.out)

    return run_stage(
        store=store, stage="ge_base.frames", kind="datasets", name=config.name, inputs={"dataset": dataset},
        config=config, seed=seed, build=build,
        sources=("components/ge_base/frames.py", "components/ge_base/frames_build.py", "components/agibot"),
    )  # fmt: skip


def codec(store: Store, config: CodecStageConfig, seed: int, frames: StageRecord) -> StageRecord:
    """Fit the codec to the table's training episodes."""
    if config.network.codec.kind != "block-pca":
        raise ConfigurationError(
            f"codec.network.codec.kind is {config.network.codec.kind!r}; this stage fits 'block-pca' codecs only, a "
            "pretrained one is imported as a model version"
        )

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.ge_base.codec_fit import fit_codec
        from components.ge_base.frames import FrameTable

        return fit_codec(config, FrameTable.open(ws.fetch_tree("frames")), seed, ws.out)

    return run_stage(
        store=store, stage="ge_base.codec", kind="models", name=config.name, inputs={"frames": frames}, config=config,
        seed=seed, sources=("components/ge_base", "components/envisioner"), build=build,
    )  # fmt: skip


def stage1(store: Store, config: VideoStageConfig, seed: int, frames: StageRecord, codec: StageRecord) -> StageRecord:
    """Multi-rate pretraining: clips of 57 frames at rates drawn from 3-30 Hz (paper, Sec. 2.3)."""
    return train_video(store, "ge_base.stage1", config, seed, {"frames": frames, "codec": codec})


def stage2(
    store: Store, config: VideoStageConfig, seed: int, frames: StageRecord, codec: StageRecord, video: StageRecord
) -> StageRecord:
    """Low-frequency pretraining from stage 1's weights: 9 frames at 5 Hz (paper, Sec. 2.3)."""
    return train_video(store, "ge_base.stage2", config, seed, {"frames": frames, "codec": codec, "video": video})


def train_video(
    store: Store, stage: str, config: VideoStageConfig, seed: int, inputs: dict[str, StageRecord]
) -> StageRecord:
    """Train the video network; with an input `video`, from its weights."""

    def build(ws: Workspace) -> Mapping[str, Metric]:
        from components.launcher.train import train
        from components.training.job import Job

        paths = {"frames": str(ws.fetch_tree("frames")), "codec": str(ws.fetch("codec", "codec.safetensors"))}
        if "video" in inputs:
            paths["video"] = str(ws.fetch("video", "model.safetensors"))
        job = Job(
            entry="components.ge_base.train:trainee", config=config.model_dump(mode="json"), train=config.train,
            seed=seed, inputs=paths, out=str(ws.out), scratch=str(ws.scratch),
        )  # fmt: skip
        return train(ws, job)

    return run_stage(
        store=store, stage=stage, kind="models", name=config.name, inputs=inputs, config=config, seed=seed,
        sources=TRAINING_SOURCES, build=build,
    )  # fmt: skip
