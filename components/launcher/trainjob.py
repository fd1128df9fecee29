"""A training as a Kubernetes object: the TrainJob of a run and stage, and how its status is read. No client here.

Only fields that Kubeflow Trainer 2.0 to 2.3 share are asked for; volumes, security and restarts stand in the
ClusterTrainingRuntime (`manifests/training`).
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field

from data_contracts.base import Contract, fingerprint

Document = dict[str, Any]
"""A Kubernetes object, as JSON has it."""

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
OURS = "app.kubernetes.io/managed-by=orrery"
"""Selects every TrainJob of this launcher."""
INSTANCE = "app.kubernetes.io/instance"
"""The label by which one job alone is watched: its name."""
CONTENT = "orrery/content"
"""The annotation that says what a job trains: a job is adopted only if it trains the same."""
JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"
"""On every pod of a TrainJob: its JobSet, which has the TrainJob's name."""
RANK_LABEL = "batch.kubernetes.io/job-completion-index"

_NAME_LIMIT = 45  # pods are `<name>-node-0-<rank>-<random>`, and their host names are labels of at most 63
_HASH = 10


class Placement(Contract):
    """Where a step trains when it does not train in itself: what the recipe's `cluster` says, for one stage."""

    namespace: str = Field(default="", description="of the TrainJob; empty: the step's own")
    runtime: str = Field(default="orrery-cpu", description="a ClusterTrainingRuntime of manifests/training")
    image: str = Field(min_length=1, description="what the pods run: the step's own image")
    nodes: int = Field(default=1, ge=1)
    processes_per_node: int = Field(default=1, ge=1)
    cpus: float = Field(default=1.0, gt=0, description="CPUs of each process")
    memory_gib: float = Field(default=3.0, gt=0, description="memory of each node's pod, shared memory counted")
    scratch_gib: float = Field(default=20.0, gt=0, description="local disk of each node's pod")
    accelerator: str = Field(default="", description="resource that each process gets one of, e.g. nvidia.com/gpu")
    queue: str = Field(default="", description="Kueue LocalQueue; empty: the job is not queued")
    priority: str = Field(default="", description="Kueue WorkloadPriorityClass of a queued job; empty: the lowest")
    hours: float = Field(default=24.0, gt=0, description="from the start of following to the end, queueing included")

    @property
    def ranks(self) -> int:
        return self.nodes * self.processes_per_node


class Owner(Contract):
    """Whose end is the job's end: Kubernetes' garbage collector takes the job away with it."""

    apiVersion: str
    kind: str
    name: str
    uid: str


Phase = Literal["waiting", "running", "suspended", "complete", "failed"]


class Status(Contract):
    """What a TrainJob's conditions say. Unknown conditions say nothing: a job ends by Complete or by Failed."""

    phase: Phase
    message: str = ""

    @property
    def over(self) -> bool:
        return self.phase in ("complete", "failed")


def job_name(run: str, stage: str, content: str) -> str:
    """The TrainJob of a stage in a run: the same again after a restart, another one if it trains something else.

    Readable words first, then a hash over all three; at most 45 characters, a DNS label that starts with a letter.
    """
    digest = fingerprint([run, stage, content])[:_HASH]
    words = re.sub(r"[^a-z0-9]+", "-", f"{stage}-{run}".lower()).strip("-")
    words = words[: _NAME_LIMIT - _HASH - 1].strip("-")
    return f"{words if words[:1].isalpha() else f't-{words}'[: _NAME_LIMIT - _HASH - 1].rstrip('-')}-{digest}"


def train_job(
    name: str, placement: Placement, command: list[str], environment: dict[str, str], content: str, owner: Owner | None
) -> Document:
    """The TrainJob that runs `command` once per node; torchrun's own settings come from Trainer as `PET_*`."""
    share = placement.processes_per_node
    amounts: dict[str, str] = {
        "cpu": f"{placement.cpus * share:g}",
        "memory": f"{placement.memory_gib:g}Gi",
        "ephemeral-storage": f"{placement.scratch_gib:g}Gi",
    }
    if placement.accelerator:
        amounts[placement.accelerator] = str(share)
    limits = {key: value for key, value in amounts.items() if key != "cpu"}
    labels = {**dict([OURS.split("=")]), INSTANCE: name}
    if placement.queue:
        labels["kueue.x-k8s.io/queue-name"] = placement.queue
        if placement.priority:
            labels["kueue.x-k8s.io/priority-class"] = placement.priority
    metadata: Document = {"name": name, "labels": labels, "annotations": {CONTENT: content}}
    if placement.namespace:
        metadata["namespace"] = placement.namespace
    if owner:
        metadata["ownerReferences"] = [owner.model_dump() | {"controller": False, "blockOwnerDeletion": False}]
    trainer = {
        "image": placement.image,
        "command": command,
        "env": [{"name": key, "value": value} for key, value in sorted(environment.items())],
        "numNodes": placement.nodes,
        "numProcPerNode": share,
        "resourcesPerNode": {"requests": amounts, "limits": limits},
    }
    reference = {"apiGroup": GROUP, "kind": "ClusterTrainingRuntime", "name": placement.runtime}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": metadata,
        "spec": {"runtimeRef": reference, "trainer": trainer},
    }


def dropped(asked: Any, got: Any, where: str = "") -> list[str]:
    """Paths of what was asked for and is not there, or is something else: an older CRD prunes without a word.

    What the cluster added (defaults, a suspension by Kueue, its own metadata) is not a difference.
    """
    if isinstance(asked, dict):
        if not isinstance(got, dict):
            return [where]
        return [
            path for key, value in asked.items() for path in dropped(value, got.get(key), f"{where}.{key}".lstrip("."))
        ]
    if isinstance(asked, list):
        if not isinstance(got, list) or len(got) < len(asked):
            return [where]
        return [path for i, value in enumerate(asked) for path in dropped(value, got[i], f"{where}[{i}]")]
    return [] if asked == got else [where]


def read_status(job: Document) -> Status:
    """The phase of a TrainJob. Failed wins over Complete: a failed job must never be read as done."""
    conditions = {c.get("type"): c for c in (job.get("status") or {}).get("conditions") or ()}

    def holds(kind: str) -> bool:
        return bool(conditions.get(kind, {}).get("status") == "True")

    def message(kind: str) -> str:
        return " ".join(str(conditions[kind].get(part) or "") for part in ("reason", "message")).strip()

    if holds("Failed"):
        return Status(phase="failed", message=message("Failed"))
    if holds("Complete"):
        return Status(phase="complete", message=message("Complete"))
    if holds("Suspended"):
        return Status(phase="suspended", message=message("Suspended"))
    active = any(int(part.get("active") or 0) for part in (job.get("status") or {}).get("jobsStatus") or ())
    return Status(phase="running" if active else "waiting")
