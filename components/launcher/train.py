"""Where a stage trains: in its own step, or in a TrainJob that the step starts and follows.

The recipe's `cluster` decides when a pipeline is compiled; the step finds the decision in its environment. What is
trained is the same, so neither the decision nor this folder's code is part of a version.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.store.stage import Workspace
from data_contracts.lineage import Metric

if TYPE_CHECKING:
    from components.training.job import Job

PLACEMENT = "ORRERY_TRAINJOB"
"""The environment variable with a Placement as JSON; without it, a stage trains in its own step."""


def train(ws: Workspace, job: Job) -> Mapping[str, Metric]:
    """Train `job` here or on the cluster, and return its metrics; what it made lies in `ws.out`. Raises OrreryError."""
    text = os.environ.get(PLACEMENT, "")
    if not text:
        from components.training.launch import run_local

        return run_local(job)
    from components.launcher.on_cluster import parse_placement, train_on_cluster

    return train_on_cluster(ws, job, parse_placement(text))
