"""A cluster, an account with exactly the rights of `manifests/base/accounts.yaml`, and the means to be Trainer."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.launcher.client import TrainerClient
from components.launcher.trainjob import Owner, Placement, job_name, train_job
from tests.engines import crds
from tests.engines.cluster import Cluster

OLDEST, NEWEST = crds.TRAINER[0], crds.TRAINER[-1]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster of KUBECONFIG, and in it a namespace that is gone afterwards."""
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig:
        pytest.skip("KUBECONFIG names no cluster; `make test-cluster` boots one where it can")
    found = Cluster(kubeconfig, f"orrery-test-{uuid.uuid4().hex[:8]}")
    found.core.create_namespace({"metadata": {"name": found.namespace}})
    try:
        found.account("pipeline")
        yield found
    finally:
        found.core.delete_namespace(found.namespace)


@pytest.fixture(scope="session")
def newest(cluster: Cluster) -> Cluster:
    """It serves Trainer 2.3's TrainJobs, unless it has a Trainer of its own."""
    cluster.serve_trainjobs(NEWEST)
    return cluster


@pytest.fixture
def as_account(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Become a service account of the cluster; the file that says so."""

    def become(name: str) -> Path:
        path = cluster.write_kubeconfig(tmp_path / f"{name}.kubeconfig", cluster.token(name)[0])
        monkeypatch.setenv("KUBECONFIG", str(path))
        return path

    return become


@pytest.fixture
def client(newest: Cluster, as_account: Callable[[str], Path]) -> TrainerClient:
    """What a pipeline's step has."""
    as_account("pipeline")
    return TrainerClient()


@pytest.fixture
def job(cluster: Cluster) -> Callable[..., dict[str, Any]]:
    """A TrainJob that nobody else has, ready to be started."""

    def make(content: str = "", owner: Owner | None = None, **placement: Any) -> dict[str, Any]:
        content = content or uuid.uuid4().hex
        place = Placement(image="orrery/trainer-python:0.1.0", nodes=2, processes_per_node=2, **placement)
        command = [sys.executable, "-m", "components.launcher.node", "order"]
        return train_job(job_name("run-1", "ge_base.stage1", content), place, command, {"A": "b"}, content, owner)

    return make
