"""Action training: phase 1 (expert on frozen video features) and phase 3 (everything, action loss)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from components.envisioner import checkpoints, flow
from components.envisioner.codec import encode_memory
from components.envisioner.config import latent_frames
from components.envisioner.ge_act import GEAct
from components.envisioner.policy import FUTURE_FRAMES, load_codec
from components.envisioner.text import HashedWords
from components.ge_act.config import ActionStageConfig
from components.ge_base.frames import FrameTable
from components.ge_base.windows import draw, memory_rows
from components.training.job import Job, stack
from data_contracts.action import ActionSchema, gripper_dims


class ActionTrainee:
    """Rectified flow on action chunks given video features at sigma = 1 (reference, "noisy_video")."""

    def __init__(
        self,
        config: ActionStageConfig,
        schema: ActionSchema,
        table: FrameTable,
        network: GEAct,
        codec: Path,
        train_video: bool,
    ):
        self.config, self.schema, self.table, self.network = config, schema, table, network
        self.codec = load_codec(config.network, codec)
        self.text = HashedWords(config.network.text)
        self.module: nn.Module = network
        self.train_video = train_video
        self.episodes = table.episodes(held_out=False)
        self.state, self.action = space_columns(table, schema)
        for name, parameter in network.named_parameters():
            # Nothing reads the video network's own output in this loss, so its head has no gradient.
            head = name.startswith(("video.proj_out", "video.scale_shift_table"))
            parameter.requires_grad_(name.startswith("action.") or (train_video and not head))

    def sample(self, generator: torch.Generator, number: int) -> dict[str, Tensor]:
        video = self.config.network.video
        episode = self.episodes[draw(0, len(self.episodes), generator)]
        now = draw(episode.start, episode.stop, generator)
        drop = float(torch.rand(1, generator=generator))
        tokens, mask = self.text([episode.instruction if drop >= self.config.caption_dropout else ""])
        h, w = self.config.network.grid
        future = latent_frames(FUTURE_FRAMES, video.temporal_stride)
        shape = (len(self.table.meta.cameras), video.latent_channels, future, h, w)
        chunk = chunk_target(self.state, self.action, now, episode.stop, self.schema)
        mean, std = (np.asarray(v, np.float32) for v in (self.schema.state.mean, self.schema.state.std))
        return {
            "memory": torch.from_numpy(self.table.frames[memory_rows(episode, now, video.memory_frames, generator)]),
            "future": torch.randn(shape, generator=generator),
            "text": tokens[0],
            "mask": mask[0],
            "state": torch.from_numpy((self.state[now] - mean) / std),
            "actions": torch.from_numpy(chunk),
            "noise": torch.randn(self.config.draws, *chunk.shape, generator=generator),
            "sigma": torch.rand(self.config.draws, generator=generator),
        }

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return stack(samples)

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        network = cast(GEAct, module)
        memory = encode_memory(self.codec, batch["memory"])
        with torch.set_grad_enabled(self.train_video and torch.is_grad_enabled()):
            features = network.features(memory, batch["future"], batch["text"], batch["mask"])
        return {"loss": action_loss(network, features, batch)}

    def save(self, path: Path) -> None:
        checkpoints.save(self.network, path)

    def publish(self, out: Path) -> dict[str, float | int | str]:
        self.save(out / "model.safetensors")
        (out / "network.json").write_text(self.config.network.model_dump_json())
        (out / "action.json").write_text(self.schema.model_dump_json())
        return self._held_out()

    @torch.no_grad()
    def _held_out(self, size: int = 64) -> dict[str, float | int | str]:
        """Flow loss and the error of sampled chunks (in standard deviations) on held-out episodes."""
        trained, self.episodes = self.episodes, self.table.episodes(held_out=True) or self.episodes
        samples = [self.sample(torch.Generator().manual_seed(j), j) for j in range(size)]
        self.episodes = trained
        batch = stack(samples)
        memory = encode_memory(self.codec, batch["memory"])
        features = self.network.features(memory, batch["future"], batch["text"], batch["mask"])
        loss = float(action_loss(self.network, features, batch))
        sampled = self.network.sample_actions(features, batch["state"], batch["noise"][:, 0], 10)
        error = float((sampled - batch["actions"]).square().mean().sqrt())
        spread = float((batch["actions"] - batch["actions"].mean(0)).square().mean().sqrt())
        return {"held_out_loss": round(loss, 5), "held_out_rmse": round(error, 4), "held_out_spread": round(spread, 4)}


def action_loss(network: GEAct, features: list[Tensor], batch: dict[str, Tensor]) -> Tensor:
    """Mean squared velocity error over chunks; `noise` (B, K, A, D) and `sigma` (B, K) are K draws per sample."""
    assert network.action is not None
    context = network.action.context(features)
    draws = batch["noise"].shape[1]
    noise = batch["noise"].transpose(0, 1).flatten(0, 1)
    sigma = batch["sigma"].transpose(0, 1).flatten()
    actions, state = batch["actions"].repeat(draws, 1, 1), batch["state"].repeat(draws, 1)
    predicted = network.action(flow.noised(actions, noise, sigma), sigma * flow.TIMESTEPS, context, state)
    return (predicted - flow.velocity(actions, noise)).square().mean()


def space_columns(table: FrameTable, schema: ActionSchema) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """State and action columns (N, D) of the schema's space."""
    return table.columns[f"state_{schema.space}"], table.columns[f"action_{schema.space}"]


def chunk_target(
    state: NDArray[np.float32], action: NDArray[np.float32], now: int, stop: int, schema: ActionSchema
) -> NDArray[np.float32]:
    """The normalised chunk (A, D) that starts at row `now`; beyond the episode's end the last command is held."""
    rows = np.minimum(np.arange(now, now + schema.chunk), stop - 1)
    chunk = action[rows].copy()
    keep = list(gripper_dims(schema.space, schema.width // 2 - 1))
    grippers = chunk[:, keep]
    if schema.form == "relative":
        chunk -= state[now]
    elif schema.form == "delta":
        chunk = np.diff(chunk, axis=0, prepend=state[now][None])
    chunk[:, keep] = grippers
    mean, std = (np.asarray(v, np.float32) for v in (schema.action.mean, schema.action.std))
    return ((chunk - mean) / std).astype(np.float32)


def trainee(job: Job) -> ActionTrainee:
    """Entry of the training loop.

    Inputs: `frames` (folder), `codec` (file), `schema` (JSON), `phase` (pretrain | specialize | from_scratch), and the
    files to start from: `video` (GE-Base or the adapted one) and `expert` (the pretrained action expert).
    """
    config = ActionStageConfig.model_validate(job.config)
    torch.manual_seed(job.seed)
    network = GEAct(config.network)
    if "expert" in job.inputs:
        checkpoints.load(network, Path(job.inputs["expert"]))
    if "video" in job.inputs:
        checkpoints.load_video(network, Path(job.inputs["video"]))
    schema = ActionSchema.model_validate_json(Path(job.inputs["schema"]).read_text())
    table = FrameTable.open(Path(job.inputs["frames"]))
    return ActionTrainee(config, schema, table, network, Path(job.inputs["codec"]), job.inputs["phase"] != "pretrain")
