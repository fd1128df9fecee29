"""The loop: DeepSpeed does the optimisation; this file feeds it, logs, checkpoints and resumes exactly."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import deepspeed
import torch
from torch import Tensor, nn

from components.store.errors import OrreryError
from components.telemetry.progress import progress
from components.training import checkpoint
from components.training.config import TrainConfig
from components.training.job import SNAPSHOTS, Job, Trainee, sample_generator
from components.training.recompute import recompute_activations


class _Wrapped(nn.Module):
    """DeepSpeed calls `forward`; a trainee's loss is that."""

    def __init__(self, trainee: Trainee):
        super().__init__()
        self.module = trainee.module
        self._loss = trainee.loss

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return self._loss(self.module, batch)


def train(job: Job, trainee: Trainee) -> dict[str, float | int | str]:
    """Train to `job.train.steps`, resuming from the newest checkpoint in `job.scratch`; rank 0 publishes to `job.out`.

    Raises:
        OrreryError: the loss is not finite; nothing is published.
    """
    config, scratch = job.train, Path(job.scratch)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if config.recompute:
        recompute_activations(trainee.module)
    wrapped = _Wrapped(trainee)
    trainable = [p for p in wrapped.parameters() if p.requires_grad]
    engine, _, _, _ = deepspeed.initialize(model=wrapped, model_parameters=trainable, config=_deepspeed(config))
    average = checkpoint.Average(trainee.module, config.ema)
    step, spent = checkpoint.restore(engine, trainee.module, average, scratch)
    _same_on_all(step, world)
    log = _Log(scratch / "losses.jsonl", step, rank == 0)

    started = saved = time.monotonic()
    first = rank * config.share
    with progress(config.steps, job.entry.split(":")[0].removeprefix("components."), "steps", initial=step,
                  quiet=rank != 0) as bar:  # fmt: skip
        while step < config.steps:
            samples = [
                trainee.sample(sample_generator(job.seed, step, i), step * config.batch_size + i)
                for i in range(first, first + config.share)
            ]
            _set_learning_rate(engine, config.learning_rate_at(step))
            losses = _optimise(engine, trainee.collate(samples), config.micro_batch or config.share)
            step += 1
            average.update()
            if step in config.snapshot_steps:
                with _whole(trainee.module, config):
                    if rank == 0:
                        _snapshot(trainee, average, scratch / SNAPSHOTS, step)
            if step % config.log_every == 0 or step == config.steps:
                values = _mean_over_ranks(losses, world)
                log.write(step, spent + time.monotonic() - started, values)
                bar.advance(step - bar.done, loss=values["loss"])
            if _agree(time.monotonic() - saved > config.checkpoint_seconds, world) and step < config.steps:
                _mean_over_ranks(losses, world)  # raises: a run resumed from weights that are NaN stays so for ever
                checkpoint.save(
                    engine, trainee.module, average, scratch, step, spent + time.monotonic() - started, rank
                )
                saved = time.monotonic()
    seconds = spent + time.monotonic() - started
    average.copy_to_module()
    metrics: dict[str, float | int | str] = {"steps": step, "train_seconds": round(seconds, 1), "processes": world}
    with _whole(trainee.module, config):
        published = trainee.publish(Path(job.out)) if rank == 0 else {}
    if rank == 0:
        metrics |= {f"final_{name}": round(value, 6) for name, value in log.last().items()}
        metrics |= published
        log.copy(Path(job.out) / "losses.jsonl")
        if config.snapshots:
            shutil.copytree(scratch / SNAPSHOTS, Path(job.out) / SNAPSHOTS)
    return metrics


def _optimise(engine: Any, batch: dict[str, Tensor], micro_batch: int) -> dict[str, Tensor]:
    """One step on `batch`, `micro_batch` samples at a time. Returns its losses, averaged over the parts."""
    parts = zip(*(tensor.split(micro_batch) for tensor in batch.values()), strict=True)
    losses: list[dict[str, Tensor]] = []
    for part in parts:
        found = engine({name: tensor.to(_device()) for name, tensor in zip(batch, part, strict=True)})
        engine.backward(found["loss"])  # DeepSpeed divides by the number of parts
        engine.step()  # and steps after the last
        losses.append({name: value.detach() for name, value in found.items()})
    return {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}


def _whole(module: nn.Module, config: TrainConfig) -> AbstractContextManager[None]:
    """Under ZeRO-3, the time in which every rank holds the whole weights; all ranks must enter it."""
    gathered: AbstractContextManager[None] = deepspeed.zero.GatheredParameters(
        list(module.parameters()), enabled=config.zero_stage == 3
    )
    return gathered


def _snapshot(trainee: Trainee, average: checkpoint.Average, folder: Path, step: int) -> None:
    """Write `folder/step-<step>.safetensors`, the weights as they would be published now."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / ".part"
    with average.applied():
        trainee.save(part)
    os.replace(part, folder / f"step-{step:07d}.safetensors")


def _deepspeed(config: TrainConfig) -> dict[str, Any]:
    return {
        "train_batch_size": config.batch_size,
        "train_micro_batch_size_per_gpu": config.micro_batch or config.share,
        "optimizer": {
            "type": "AdamW",
            # PyTorch's own Adam: DeepSpeed's compiles a kernel on first use, which takes minutes on a CPU.
            "params": {"lr": config.learning_rate, "betas": config.betas, "weight_decay": config.weight_decay,
                       "eps": 1e-8, "torch_adam": True},
        },
        "gradient_clipping": config.clip,
        # Small weights are sharded too: kept whole, they would have to be told apart when a checkpoint is restored.
        "zero_optimization": {"stage": config.zero_stage, "stage3_param_persistence_threshold": 0},
        "bf16": {"enabled": config.precision == "bf16"},
        "steps_per_print": 1 << 30,
    }  # fmt: skip


def _set_learning_rate(engine: Any, rate: float) -> None:
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


def _mean_over_ranks(losses: dict[str, Tensor], world: int) -> dict[str, float]:
    values = torch.stack([value.detach().float() for value in losses.values()])
    if world > 1:
        torch.distributed.all_reduce(values)
        values /= world
    out = dict(zip(losses, values.tolist(), strict=True))
    if not math.isfinite(out["loss"]):
        raise OrreryError(f"the loss became {out['loss']}; lower train.learning_rate or check the data's statistics")
    return out


def _agree(wish: bool, world: int) -> bool:
    """Rank 0's clock decides for all: ranks that disagreed on saving would wait for each other for ever."""
    if world == 1:
        return wish
    flag = torch.tensor([int(wish)], device=_device())
    torch.distributed.broadcast(flag, 0)
    return bool(flag.item())


def _device() -> str:
    """Where ranks exchange tensors: NCCL knows only those of GPUs."""
    name: str = deepspeed.accelerator.get_accelerator().current_device_name()
    return name


def _same_on_all(step: int, world: int) -> None:
    """Nodes fetch checkpoints each for itself: ranks that begin at different steps would average different weights."""
    if world == 1:
        return
    steps = torch.tensor([step, -step], device=_device())
    torch.distributed.all_reduce(steps, torch.distributed.ReduceOp.MAX)
    if steps[0] != -steps[1]:
        raise OrreryError(f"ranks begin between steps {-int(steps[1])} and {int(steps[0])}; start the training again")


class _Log:
    """`losses.jsonl`, cut back to the resumed step so that no step is logged twice."""

    def __init__(self, path: Path, step: int, active: bool):
        self._path, self._active = path, active
        self._lines: list[dict[str, float]] = []
        if active and path.exists():
            for line in path.read_text().splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # the line that a kill cut short
                    continue
                if entry["step"] <= step:
                    self._lines.append(entry)
        if active:
            path.write_text("".join(json.dumps(line) + "\n" for line in self._lines))

    def write(self, step: int, seconds: float, values: dict[str, float]) -> None:
        if not self._active:
            return
        entry = {"step": step, "seconds": round(seconds, 2), **{k: round(v, 6) for k, v in values.items()}}
        self._lines.append(entry)
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def last(self) -> dict[str, float]:
        return {k: v for k, v in self._lines[-1].items() if k not in ("step", "seconds")} if self._lines else {}

    def copy(self, to: Path) -> None:
        to.write_bytes(self._path.read_bytes())
