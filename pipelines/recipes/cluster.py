"""What a recipe asks of a cluster."""

from __future__ import annotations

from pydantic import Field

from components.language.engine_config import EngineConfig
from data_contracts.base import Contract


class Cluster(Contract):
    """The steps of a compiled pipeline on their nodes. A stage that starts several processes gets several shares."""

    accelerator: str = Field(
        default="", pattern=r"^$|^[a-z0-9.-]+/[a-z0-9.-]+$",
        description="what training gets one of for each process, sampling and evaluation one, e.g. nvidia.com/gpu",
    )  # fmt: skip
    cpus: float = Field(default=1.0, gt=0, description="CPUs for each process")
    memory_gib: float = Field(default=3.0, gt=0, description="memory for each process, shared memory not counted")
    shared_memory_gib: float = Field(default=1.0, gt=0, description="/dev/shm of a step: all-reduce, data loading")
    scratch_gib: float = Field(default=20.0, gt=0, description="/tmp of a step: what it fetches and writes")
    hours: float = Field(default=24.0, gt=0, le=24 * 30, description="after which a step is ended")
    nodes: int = Field(
        default=0, ge=0,
        description="pods of the TrainJob that a training gets, its processes shared out; 0: it trains in its step",
    )  # fmt: skip
    queue: str = Field(
        default="", pattern=r"^$|^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        description="Kueue LocalQueue of TrainJobs (manifests/queues has `training`); empty: they start at once",
    )  # fmt: skip
    priority: str = Field(
        default="", pattern=r"^$|^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        description="Kueue WorkloadPriorityClass of queued TrainJobs (manifests/queues has orrery-scheduled and "
        "orrery-by-hand): one of a lower class is preempted, and goes on from its last checkpoint",
    )  # fmt: skip
    retries: int = Field(default=2, ge=0, le=10, description="a step that fails starts again, from its last checkpoint")
    retry_seconds: int = Field(default=60, ge=1, description="before the first retry; twice as long before each next")
    team: str = Field(default="", pattern=r"^[a-z0-9-]*$", description="whose hours they are, in `orrery runs cost`")
    budget_gpu_hours: float | None = Field(default=None, gt=0, description="of a run; what exceeds it is stopped")
    budget_cpu_hours: float | None = Field(default=None, gt=0, description="of a run; what exceeds it is stopped")


def check_engine(engine: EngineConfig, cluster: Cluster, tokens: int) -> None:
    """Raises ValueError, with the mend, for an engine on GPUs in a recipe that asks for none, or for one whose
    sequences are too short for answers of `tokens`."""
    if engine.gpus and not cluster.accelerator:
        raise ValueError(
            f"engine.device is gpu, with {engine.gpus} of them, but cluster.accelerator asks for none; set "
            "cluster.accelerator, e.g. to nvidia.com/gpu, or engine.device=cpu"
        )
    if 0 < engine.max_model_len <= tokens:
        raise ValueError(
            f"engine.max_model_len {engine.max_model_len} leaves no room for a question beside {tokens} tokens of its "
            "answer; raise it, or set 0 for all that the model has places for"
        )
