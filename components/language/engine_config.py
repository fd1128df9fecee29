"""How a vLLM engine computes, and how much of the machine it may use. Cheap to import: recipes read it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.base import Contract


class EngineConfig(Contract):
    """One engine. The defaults are those of small networks on a CPU."""

    device: Literal["cpu", "gpu"] = Field(default="cpu", description="gpu: vLLM's CUDA build, on GPUs of its own")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="of weights, keys and values; a CPU without bfloat16 instructions takes a hundred times as long",
    )
    enforce_eager: bool = Field(default=True, description="every kernel by itself; false compiles and records graphs")
    tensor_parallel_size: int = Field(
        default=1, ge=1, le=64, description="GPUs, or processes, that share out the weights"
    )
    kv_cache_mib: int = Field(default=1024, ge=16, description="on a CPU: MiB of memory for keys and values")
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, lt=1, description="on GPUs: share of each one's memory for weights, keys and values"
    )
    max_model_len: int = Field(
        default=0,
        ge=0,
        description="tokens of a prompt and its completion together; 0: as many as the model has places",
    )
    max_num_seqs: int = Field(default=256, ge=1, le=4096, description="completions computed at the same time")
    threads: int = Field(default=0, ge=0, description="that compute; 0: one for every core but one, which answers")
    start_seconds: float = Field(default=600, gt=0)
    restarts: int = Field(default=3, ge=0, description="deaths that are survived")

    @model_validator(mode="after")
    def _computes(self) -> EngineConfig:
        if self.device == "cpu" and not self.enforce_eager:
            raise ValueError(
                "engine.enforce_eager=false records graphs of a GPU; set engine.device=gpu or engine.enforce_eager=true"
            )
        return self

    @property
    def gpus(self) -> int:
        """That it has for itself."""
        return self.tensor_parallel_size if self.device == "gpu" else 0
