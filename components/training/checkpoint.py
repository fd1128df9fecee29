"""Resumable checkpoints without pickle: full fp32 weights and Adam moments by parameter name, in safetensors.

They are gathered over ZeRO's partitions, so a run may resume with another number of processes. Random state needs no
saving: a step's samples are a function of (seed, step, index).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.zero import GatheredParameters
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


class Average:
    """Exponential moving average of the trainable weights, in fp32; off when `decay` is 0."""

    def __init__(self, module: nn.Module, decay: float):
        self._decay = decay
        self._live = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.shadow = {name: p.detach().float().clone() for name, p in self._live.items()} if decay else {}
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        if not self._decay:
            return
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))  # short runs forget the start sooner
        names = list(self.shadow)
        torch._foreach_lerp_(
            [self.shadow[n] for n in names], [self._live[n].detach().float() for n in names], 1 - decay
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with its averaged weights, for as long as the context lasts."""
        live = {name: self._live[name].detach().clone() for name in self.shadow}
        self.copy_to_module()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in live.items():
                    self._live[name].copy_(value)

    @torch.no_grad()
    def copy_to_module(self) -> None:
        for name, value in self.shadow.items():
            self._live[name].copy_(value)


def save(engine: Any, module: nn.Module, average: Average, folder: Path, step: int, seconds: float, rank: int) -> None:
    """Write `folder/checkpoint-<step>`, atomically, and drop older ones. Every rank must call it (it gathers)."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in _trainable(module):
        tensors[f"weight/{name}"] = safe_get_full_fp32_param(parameter)
        for moment in MOMENTS:
            tensors[f"{moment}/{name}"] = safe_get_full_optimizer_state(parameter, moment)
    if rank == 0:
        tensors |= {f"average/{name}": value for name, value in average.shadow.items()}
        scratch = folder / f".partial-{os.getpid()}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        save_file(
            {name: value.detach().float().clone() for name, value in tensors.items()}, scratch / "state.safetensors"
        )
        meta = {"step": step, "seconds": seconds, "average_updates": average.updates}
        (scratch / "meta.json").write_text(json.dumps(meta))
        os.replace(scratch, folder / f"checkpoint-{step}")
        for old in _checkpoints(folder)[:-1]:
            shutil.rmtree(folder / f"checkpoint-{old}", ignore_errors=True)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def restore(engine: Any, module: nn.Module, average: Average, folder: Path) -> tuple[int, float]:
    """Load the newest checkpoint. Returns (steps done, seconds spent), (0, 0.0) if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = _checkpoints(folder)
    if not steps:
        return 0, 0.0
    newest = folder / f"checkpoint-{steps[-1]}"
    meta = json.loads((newest / "meta.json").read_text())
    tensors = load_file(str(newest / "state.safetensors"))
    _prime(engine)
    for name, parameter in _trainable(module):
        values = {moment: tensors[f"{moment}/{name}"] for moment in MOMENTS}
        if hasattr(parameter, "ds_id"):
            _set_sharded(parameter, tensors[f"weight/{name}"], values)
            continue
        safe_set_full_fp32_param(parameter, tensors[f"weight/{name}"])
        for moment, value in values.items():
            safe_set_full_optimizer_state(parameter, value, moment)
        parameter.data.copy_(tensors[f"weight/{name}"])
    for state in engine.optimizer.optimizer.state.values():
        state["step"] = torch.tensor(float(meta["step"]))
    for name in average.shadow:
        average.shadow[name].copy_(tensors[f"average/{name}"])
    average.updates = int(meta["average_updates"])
    return int(meta["step"]), float(meta["seconds"])


def _set_sharded(parameter: Any, weight: Tensor, moments: Mapping[str, Tensor]) -> None:
    """Weight and moments of a parameter that ZeRO-3 shards: the whole for the network, this rank's part for Adam.

    The parts are equal, so the last one is padded; DeepSpeed's own setters of whole values forget that.
    """
    size, rank = parameter.ds_tensor.numel(), torch.distributed.get_rank()

    def part(whole: Tensor) -> Tensor:
        padding = size * torch.distributed.get_world_size() - whole.numel()
        return nn.functional.pad(whole.flatten(), (0, padding))[size * rank : size * (rank + 1)]

    with GatheredParameters([parameter], modifier_rank=0):
        parameter.data.copy_(weight)
    safe_set_local_fp32_param(parameter, part(weight))
    for moment, value in moments.items():
        safe_set_local_optimizer_state(parameter, part(value), moment)


def _prime(engine: Any) -> None:
    """Create Adam's lazily made state, so that it can be overwritten."""
    zero = engine.optimizer
    sharded = hasattr(zero, "fp32_partitioned_groups_flat")  # ZeRO-3
    for weights in zero.fp32_partitioned_groups_flat if sharded else zero.single_partition_of_fp32_groups:
        zeros = {moment: torch.zeros_like(weights, requires_grad=False) for moment in MOMENTS}
        zero.optimizer.state[weights] = {"step": torch.tensor(0.0), **zeros}
    if not sharded:
        zero._lazy_init_hp_params_optimizer_state()


def _trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]


def _checkpoints(folder: Path) -> list[int]:
    """Steps of the complete checkpoints, oldest first. A checkpoint is renamed into place whole."""
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))
