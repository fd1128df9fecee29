"""A stage's training through a TrainJob, with a real API server and MinIO.

Nothing runs pods here: the test reads the TrainJob as it is stored, runs its command once per node as kubelet would,
with what Trainer would add, and sets the status as Trainer's controller would.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from components.launcher.client import TrainerClient
from components.launcher.train import PLACEMENT, train
from components.launcher.trainjob import OURS, Placement
from components.store.open import open_store
from components.store.stage import Workspace
from components.training.config import TrainConfig
from components.training.job import Job
from data_contracts.base import canonical_json
from tests.engines import minio as minio_engine
from tests.engines.cluster import Cluster, wait_for


@pytest.mark.timeout(600)  # processes that import torch, one after the other
def test_a_stage_trains_in_a_trainjob_and_has_what_it_made(
    cluster: Cluster, client: TrainerClient, minio_environment: minio_engine.Server, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Breaks if anything were lost on the way: order, command, environment, result, metrics, or the job's deletion."""
    store = open_store(f"s3://orrery/{tmp_path.name}")
    ws = Workspace(store, "toy.train", "v1", {}, *(tmp_path / name for name in ("out", "scratch", "views")))
    config = TrainConfig(steps=20, batch_size=8, warmup_steps=2, learning_rate=1e-2, precision="fp32", zero_stage=1,
                         processes=1, log_every=5)  # fmt: skip
    job = Job(entry="components.training.selfcheck:trainee", config={}, train=config, seed=1, inputs={},
              out=str(ws.out), scratch=str(ws.scratch))  # fmt: skip
    monkeypatch.setenv(PLACEMENT, canonical_json(Placement(image="orrery/trainer-python:0.1.0", hours=0.15)))
    monkeypatch.setenv("ORRERY_RUN", tmp_path.name)
    said = tmp_path / "node"
    errors: list[BaseException] = []

    def trainer_and_kubelet() -> None:
        try:
            mine = wait_for("the TrainJob", lambda: _jobs(cluster))[0]
            spec = mine["spec"]["trainer"]
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            environment = {
                **os.environ, **{e["name"]: e["value"] for e in spec["env"]}, "PET_NODE_RANK": "0",
                "PET_NNODES": str(spec["numNodes"]), "PET_NPROC_PER_NODE": str(spec["numProcPerNode"]),
                "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port),
            }  # fmt: skip
            with open(said, "wb") as log:
                command = [sys.executable, *spec["command"][1:]]
                code = subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=500).returncode
            cluster.end(mine["metadata"]["name"], "Failed" if code else "Complete")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=trainer_and_kubelet, daemon=True)
    thread.start()
    metrics: Any = train(ws, job)
    thread.join(60)
    assert not errors, errors
    assert metrics["steps"] == 20, said.read_text()
    assert load_file(str(ws.out / "model.safetensors"))
    assert (ws.out / "losses.jsonl").read_text().count("\n") == 4
    assert not _jobs(cluster), "nothing is left"
    assert train(ws, job) == metrics, "a step that is started again finds the result"


def _jobs(cluster: Cluster) -> list[dict[str, Any]]:
    found = cluster.jobs.list_namespaced_custom_object(
        "trainer.kubeflow.org", "v1alpha1", cluster.namespace, "trainjobs", label_selector=OURS
    )
    return [job for job in found["items"] if "toy-train" in job["metadata"]["name"]]
