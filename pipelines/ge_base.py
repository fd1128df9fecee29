"""GE-Base: the world model, a multi-view video diffusion transformer, in two stages (Genie Envisioner, Sec. 2)."""

from typing import NamedTuple

from kfp import dsl

from components.ge_base.component import ge_base_codec, ge_base_frames, ge_base_stage1, ge_base_stage2
from pipelines.dag import titled


class WorldModel(NamedTuple):
    frames: str
    codec: str
    video: str


@dsl.pipeline(name="ge-base", display_name="GE-Base", description=__doc__)
def ge_base(
    store: str,
    seed: int,
    dataset: str,
    frames_config: str,
    codec_config: str,
    stage1_config: str,
    stage2_config: str,
) -> WorldModel:
    frames = ge_base_frames(store=store, seed=seed, config=frames_config, dataset=dataset)
    codec = ge_base_codec(store=store, seed=seed, config=codec_config, frames=frames.output)
    multi_rate = ge_base_stage1(store=store, seed=seed, config=stage1_config, frames=frames.output, codec=codec.output)
    low_frequency = ge_base_stage2(
        store=store, seed=seed, config=stage2_config, frames=frames.output, codec=codec.output, video=multi_rate.output
    )
    titled("Frames at the network's size", frames)
    titled("Codec", codec)
    titled("Stage 1: multi-rate", multi_rate)
    titled("Stage 2: low frequency", low_frequency)
    return WorldModel(frames=frames.output, codec=codec.output, video=low_frequency.output)
