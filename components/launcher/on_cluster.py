"""A stage's training as a TrainJob, from the order to what it made."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pydantic import ValidationError

from components.launcher.client import TrainerClient, own_namespace
from components.launcher.follow import attend
from components.launcher.lease import Lease
from components.launcher.node import SECONDS
from components.launcher.order import Order, Result, download, find_result, place_order
from components.launcher.train import PLACEMENT
from components.launcher.trainjob import Placement, job_name, train_job
from components.store.errors import ConfigurationError, OrreryError
from components.store.stage import Workspace
from components.training.job import Job
from data_contracts.base import fingerprint
from data_contracts.lineage import Metric


def parse_placement(text: str) -> Placement:
    """The environment's Placement. Raises ConfigurationError."""
    try:
        return Placement.model_validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(f"{PLACEMENT} is no placement of a TrainJob: {error}") from None


def train_on_cluster(ws: Workspace, job: Job, placement: Placement) -> Mapping[str, Metric]:
    """Order the training, wait for its TrainJob, and fetch what it made.

    A step that is started again finds the job, or its result.
    """
    if not ws.store.url.startswith("s3://"):
        raise ConfigurationError(f"a TrainJob's pods can't reach the store {ws.store.url!r}; use s3://bucket/prefix")
    if placement.ranks != job.train.processes:
        raise ConfigurationError(
            f"{placement.nodes} nodes with {placement.processes_per_node} processes each are not the "
            f"{job.train.processes} of train.processes; let cluster.nodes divide it"
        )
    order = place_order(ws, job)
    result = find_result(ws.store, order) or _attended(ws, order, placement)
    download(ws.store, result.pieces, ws.out)
    return result.metrics


def _attended(ws: Workspace, order: Order, placement: Placement) -> Result:
    client = TrainerClient(placement.namespace)
    owner = client.own_owner() if client.namespace == own_namespace() else None  # an owner is of the same namespace
    run = os.environ.get("ORRERY_RUN") or (owner.name if owner else "by-hand")
    seconds = placement.hours * 3600
    content = fingerprint([order.name, placement.model_dump(mode="json")])
    environment = {"ORRERY_STORE": ws.store.url, "ORRERY_IMAGE": placement.image, SECONDS: f"{seconds:.0f}"}
    command = ["python", "-m", "components.launcher.node", order.key]
    job = train_job(job_name(run, ws.stage, content), placement, command, environment, content, owner)
    with Lease(ws.store, order.lease_key):
        uid = attend(client, job, seconds)
    result = find_result(ws.store, order)
    if result is None:
        raise OrreryError(
            f"TrainJob {job['metadata']['name']} is complete, but {order.result_key} is not in {ws.store.url}; do its "
            "pods write to the same store? (ConfigMap `store`)"
        )
    client.delete(job["metadata"]["name"], uid)  # its result is safe, and Trainer keeps finished jobs for ever
    return result
