"""A GE-Base stage as a cluster trains it: its step is a pod that starts a TrainJob, Trainer makes two nodes of it, one
is killed, JobSet starts both again. Everything but the step itself is made by the manifests.

Needs pods, Trainer's and JobSet's controllers and the images of `pods/images.sh`: `TIER=3 make test-cluster`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from components.ge_base import stages
from components.ge_base.frames import COLUMNS, EpisodeRows, TableMeta, write_table
from components.images import image
from components.launcher.train import PLACEMENT
from components.launcher.trainjob import GROUP, JOBSET_LABEL, PLURAL, RANK_LABEL, VERSION
from components.store.access import KEY_FILE, ROLES, SECRET_FILE
from components.store.api import Store
from components.store.open import open_store
from components.store.records import read_reference, reference
from components.store.stage import Workspace, run_stage
from data_contracts.base import canonical_json
from data_contracts.lineage import StageRecord
from pipelines.placement import USER
from pipelines.recipes import recipe
from pipelines.train_jobs import train_job_of
from tests.engines.cluster import Cluster, wait_for

NAMESPACE = "orrery"
OVERLAY = Path(__file__).with_name("pods")
STEPS = 24
SETTINGS = (
    f"stage1.train.steps={STEPS}", "stage1.train.warmup_steps=4", "stage1.train.checkpoint_seconds=0.5",
    "stage1.train.log_every=2", "codec_patches=2000",
    "cluster.nodes=2", "cluster.cpus=0.25", "cluster.memory_gib=2", "cluster.shared_memory_gib=0.25",
    "cluster.scratch_gib=4", "cluster.hours=0.5",
)  # fmt: skip
"""The tiny recipe on two nodes of one process each, as small as it gets."""
STEP = """
import json, sys
from components.ge_base.component import ge_base_stage1
print(ge_base_stage1.python_func(**json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def orrery() -> Iterator[Cluster]:
    """The manifests on the cluster, with secrets of this run; the store's users are made."""
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig or os.environ.get("TIER") != "3":
        pytest.skip("needs a cluster that runs pods: TIER=3 make test-cluster")
    cluster = Cluster(kubeconfig, NAMESPACE)
    try:
        cluster.core.create_namespace({"metadata": {"name": NAMESPACE}})
    except ApiException as error:
        if error.status != 409:
            raise
        pytest.fail(f"namespace {NAMESPACE} is in use; delete it first: these tests replace its secrets and its store")
    try:
        roots = {"username": "root-user", "password": secrets.token_hex(16)}
        _secret(cluster, "minio-root", roots)
        for role in ROLES:
            _secret(cluster, f"store-{role}", {KEY_FILE: f"{role}-user", SECRET_FILE: secrets.token_hex(16)})
        done = _kubectl("apply", "--server-side", "--force-conflicts", "-k", str(OVERLAY))
        assert "Warning" not in done, done
        wait_for("the store's users", lambda: _job_succeeded(cluster, "store-access"), 240)
        yield cluster
    finally:
        cluster.core.delete_namespace(NAMESPACE)


@pytest.fixture
def store(orrery: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The cluster's store, as its administrator sees it from here."""
    command = [_program(), "-n", NAMESPACE, "port-forward", "service/minio", ":9000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", forward.stdout.readline())
            assert found, "kubectl port-forward said where"
            root = orrery.core.read_namespaced_secret("minio-root", NAMESPACE).data
            monkeypatch.setenv("MINIO_ENDPOINT", f"http://127.0.0.1:{found[1]}")
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", _plain(root["username"]))
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", _plain(root["password"]))
            yield open_store("s3://orrery")
        finally:
            forward.terminate()


@pytest.mark.timeout(1500)  # each process of a pod imports torch from a cold disk, twice
def test_two_nodes_of_which_one_is_killed_train_what_one_machine_trains(
    orrery: Cluster, store: Store, folder_store: Store
) -> None:
    """Breaks if the manifests, the launcher and Trainer did not fit each other, if a lost node ended a training, or if
    what two pods train after a restart differed in one bit from what one process group trains in one go."""
    plan = recipe("robots", "tiny", SETTINGS)
    configs: Any = plan.stages()
    placement = train_job_of(plan.cluster, configs["stage1"].train.processes, image("trainer"))
    assert placement is not None
    frames, codec = _inputs(store, configs)
    inputs = {name: reference(store, r).model_dump_json() for name, r in (("frames", frames), ("codec", codec))}
    arguments = {"store": store.url, "config": configs["stage1"].model_dump_json(), "seed": 1, **inputs}
    _step(orrery, canonical_json(placement), arguments)

    [jobset] = wait_for(
        "the TrainJob's JobSet", lambda: _objects(orrery, "jobset.x-k8s.io", "v1alpha2", "jobsets"), 300
    )
    name = jobset["metadata"]["name"]
    step = wait_for("a checkpoint in the store", lambda: _while_alive(orrery, max(_kept(store), default=0)), 600)
    assert step < STEPS, "the training was over before it could be killed"
    first = _pods(orrery, name)
    assert sorted(first) == [0, 1], "two nodes"
    orrery.core.delete_namespaced_pod(first[0], NAMESPACE, grace_period_seconds=0)
    wait_for("JobSet starts all nodes again", lambda: _restarts(orrery, name) == 1, 240)
    second = wait_for("new pods", lambda: _both(_pods(orrery, name), first), 240)
    assert set(second.values()).isdisjoint(first.values()), "the node that was not killed started anew, too"

    wait_for("the step's end", lambda: not _alive(orrery), 900)
    said = orrery.core.read_namespaced_pod_log("step", NAMESPACE)
    assert orrery.core.read_namespaced_pod("step", NAMESPACE).status.phase == "Succeeded", said
    resumed = re.search(r"going on from step (\d+)", said)
    assert resumed, said
    assert step <= int(resumed[1]) < STEPS
    record = read_reference(store, said.strip().splitlines()[-1])
    assert (record.metrics["steps"], record.metrics["processes"]) == (STEPS, 2)
    assert record.image == image("trainer")
    assert not _objects(orrery, GROUP, VERSION, PLURAL), "what is done is taken away"
    assert not _kept(store), "and its checkpoints with it"
    print(f"killed after step {step}, went on from step {resumed[1]}")

    here = dict(zip(("frames", "codec"), _inputs(folder_store, configs), strict=True))
    alone = stages.stage1(folder_store, configs["stage1"], 1, **here)
    assert _weights(record) == _weights(alone), "bit by bit"


def test_the_cluster_complains_of_nothing_but_the_kill(orrery: Cluster) -> None:
    """Breaks if pods were refused by the quota, by Pod Security or by a full node, or an image's probe did not fit."""
    events = orrery.core.list_namespaced_event(NAMESPACE, field_selector="type=Warning").items
    said = {f"{e.involved_object.kind} {e.reason}: {e.message}" for e in events}
    print("\n".join(sorted(said)))
    expected = ("JobSet ", "Job BackoffLimitExceeded", "Pod Unhealthy: Startup probe failed")  # MinIO is not up at once
    assert not [line for line in said if not line.startswith(expected)], said


# --- what the test makes


def _inputs(store: Store, configs: Any) -> tuple[StageRecord, StageRecord]:
    """A table of synthetic episodes under the name of the frames' stage, and the codec's own stage on it."""
    config = configs["frames"]
    length, height, width = 90, config.image_height, config.image_width
    rows = tuple(
        EpisodeRows(index=i, start=i * length, stop=(i + 1) * length, instruction=f"press {i}", held_out=i == 3)
        for i in range(4)
    )
    meta = TableMeta(
        embodiment="agibot_g1", cameras=config.cameras, image_height=height, image_width=width, fps=30, episodes=rows
    )
    noise = np.random.default_rng(0).integers(0, 256, (length, height, width, 3), dtype=np.uint8)

    def values(episode: EpisodeRows) -> dict[str, Any]:
        rng = np.random.default_rng(episode.index)
        return {source: rng.normal(size=(length, 14 if "eef14" in source else 16)) for source in COLUMNS.values()}

    def build(ws: Workspace) -> dict[str, float]:
        write_table(ws.out, meta, lambda episode, _: np.roll(noise, episode.index, axis=2), values, lambda: None)
        return {}

    frames = run_stage(
        store=store, stage="ge_base.frames", kind="datasets", name=config.name, inputs={}, config=config, seed=1,
        sources=("components/ge_base/frames.py",), build=build,
    )  # fmt: skip
    return frames, stages.codec(store, configs["codec"], 1, frames)


def _step(cluster: Cluster, placement: str, arguments: dict[str, Any]) -> None:
    """The pod `step`: what KFP makes of a training step that `orrery compile` placed, without KFP's own launcher."""

    def key(name: str) -> dict[str, Any]:
        return {"valueFrom": {"secretKeyRef": {"name": "store-training", "key": name}}}

    def field(path: str) -> dict[str, Any]:
        return {"valueFrom": {"fieldRef": {"fieldPath": path}}}

    environment: dict[str, Any] = {
        PLACEMENT: {"value": placement}, "ORRERY_IMAGE": {"value": image("trainer")}, "ORRERY_RUN": {"value": "pods"},
        "AWS_ACCESS_KEY_ID": key(KEY_FILE), "AWS_SECRET_ACCESS_KEY": key(SECRET_FILE),
        "KFP_POD_NAME": field("metadata.name"), "KFP_POD_UID": field("metadata.uid"),
    }  # fmt: skip
    container = {
        "name": "main", "image": image("trainer"), "command": ["python", "-c", STEP, json.dumps(arguments)],
        "env": [{"name": name, **value} for name, value in environment.items()],
        "envFrom": [{"configMapRef": {"name": "store"}}],
        "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }  # fmt: skip
    spec = {
        "serviceAccountName": "pipeline", "restartPolicy": "Never", "containers": [container],
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}}],
    }  # fmt: skip
    labels = {"orrery/store-client": "true", "pipelines.kubeflow.org/v2_component": "true"}
    cluster.core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": "step", "labels": labels}, "spec": spec})


def _secret(cluster: Cluster, name: str, values: dict[str, str]) -> None:
    cluster.core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": name}, "stringData": values})


# --- what the test looks at


def _program() -> str:
    found = shutil.which("kubectl")
    assert found, "kubectl is not on PATH"
    return found


def _kubectl(*arguments: str) -> str:
    """What kubectl says, warnings of the API server included."""
    done = subprocess.run([_program(), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _plain(value: str) -> str:
    return base64.b64decode(value).decode()


def _job_succeeded(cluster: Cluster, name: str) -> bool:
    return bool(client.BatchV1Api(cluster.api).read_namespaced_job(name, NAMESPACE).status.succeeded)


def _objects(cluster: Cluster, group: str, version: str, plural: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.jobs.list_namespaced_custom_object(group, version, NAMESPACE, plural)["items"]
    return found


def _jobsets(cluster: Cluster) -> list[dict[str, Any]]:
    return _objects(cluster, "jobset.x-k8s.io", "v1alpha2", "jobsets")


def _restarts(cluster: Cluster, name: str) -> int:
    [jobset] = [jobset for jobset in _jobsets(cluster) if jobset["metadata"]["name"] == name]
    return int(jobset.get("status", {}).get("restarts") or 0)


def _pods(cluster: Cluster, name: str) -> dict[int, str]:
    """The running pods of a TrainJob, by rank."""
    found = cluster.core.list_namespaced_pod(NAMESPACE, label_selector=f"{JOBSET_LABEL}={name}").items
    running = [pod for pod in found if pod.status.phase == "Running" and not pod.metadata.deletion_timestamp]
    return {int(pod.metadata.labels[RANK_LABEL]): pod.metadata.name for pod in running}


def _both(now: dict[int, str], before: dict[int, str]) -> dict[int, str] | None:
    return now if sorted(now) == [0, 1] and now[0] != before[0] else None


def _alive(cluster: Cluster) -> bool:
    return cluster.core.read_namespaced_pod("step", NAMESPACE).status.phase in ("Pending", "Running")


def _while_alive(cluster: Cluster, found: Any) -> Any:
    """`found`; a step that has ended will not bring what is not there yet."""
    assert found or _alive(cluster), cluster.core.read_namespaced_pod_log("step", NAMESPACE)
    return found


def _kept(store: Store) -> list[int]:
    """The steps of the whole checkpoints in the store."""
    keys = [stat.key for stat in store.list("checkpoints/ge_base.stage1/")]
    return [int(key.split("/step-")[1].split("-")[0]) for key in keys if key.endswith("/kept.json")]


def _weights(record: StageRecord) -> str:
    return record.object("model.safetensors").sha256
