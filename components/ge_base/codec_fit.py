"""Fitting the block codec to a table's frames."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from components.envisioner.codec import BlockCodec, to_unit
from components.ge_base.config import CodecStageConfig
from components.ge_base.frames import EpisodeRows, FrameTable
from components.ge_base.windows import draw, future_rows

MAX_STRIDE = 10


def fit_codec(config: CodecStageConfig, table: FrameTable, seed: int, out: Path) -> dict[str, float | int | str]:
    """Fit both kinds of patches on training episodes and write `codec.safetensors`. Returns the variance kept."""
    codec = BlockCodec(config.network.codec)
    generator = torch.Generator().manual_seed(seed)
    episodes = table.episodes(held_out=False)
    kept: dict[str, float | int | str] = {}
    for kind, group in (("still", 1), ("group", config.network.codec.temporal_stride)):
        patches = _patches(codec, table, episodes, group, config.patches, generator)
        kept[f"variance_kept_{kind}"] = round(codec.fit(kind, patches), 4)
    save_file(codec.state_dict(), str(out / "codec.safetensors"))
    (out / "network.json").write_text(config.network.model_dump_json())
    return kept


def _patches(
    codec: BlockCodec,
    table: FrameTable,
    episodes: list[EpisodeRows],
    group: int,
    count: int,
    generator: torch.Generator,
) -> Tensor:
    """At least `count` patches (count, P) from random places, at random strides, of all views."""
    out: list[Tensor] = []
    total = 0
    while total < count:
        episode = episodes[draw(0, len(episodes), generator)]
        now = draw(episode.start, episode.stop, generator)
        rows, _ = future_rows(episode, now, group, draw(1, MAX_STRIDE + 1, generator))
        video = to_unit(torch.from_numpy(table.frames[rows])).transpose(0, 1)
        patches = codec.patches(video, group).flatten(0, 3)
        out.append(patches)
        total += len(patches)
    return torch.cat(out)
