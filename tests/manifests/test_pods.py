"""If these fail, a pod may do more than it must, is refused by `restricted`, or does not do what its image can."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
import typer.main

from components.store.access import KEY_FILE, ROLES, SECRET_FILE
from components.store.files import scratch_folder
from pipelines.cli import app

Document = dict[str, Any]


def environment(container: Document, documents: list[Document]) -> dict[str, str]:
    """The plain values of a container's environment; those of secrets are not here."""
    maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
    values: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        values |= maps[source["configMapRef"]["name"]]
    return values | {e["name"]: e["value"] for e in container.get("env", ()) if "value" in e}


def test_no_pod_runs_as_root_or_shares_its_node(pods: dict[str, Document]) -> None:
    assert pods.keys() >= {"minio", "store-access", "policy-server"}
    for name, pod in pods.items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert not [v for v in spec["volumes"] if "hostPath" in v], name


def test_no_container_may_gain_privileges_or_write_to_its_image(containers: dict[str, Document]) -> None:
    for name, container in containers.items():
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert not context.get("privileged"), name
        assert context.get("runAsUser", 1) > 0, name
        assert not [p for p in container.get("ports", ()) if "hostPort" in p], name


def test_what_a_pod_may_use_is_bounded(pods: dict[str, Document], containers: dict[str, Document]) -> None:
    """Breaks if a pod could fill its node's memory or disk, and be evicted with its neighbours.

    A TrainJob says its memory and disk, but can't say its volumes' sizes: those of a runtime would evict a training to
    which its recipe gives more.
    """
    for name, container in containers.items():
        assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["requests"].keys(), name
        assert {"memory", "ephemeral-storage"} <= container["resources"]["limits"].keys(), name
    for name, pod in pods.items():
        for volume in [v for v in pod["spec"]["volumes"] if "emptyDir" in v]:
            sized = "sizeLimit" in volume["emptyDir"]
            assert sized is not name.startswith("orrery-"), f"{name}: volume {volume['name']}"


def test_a_training_starts_again_whole_or_not_at_all(documents: list[Document], pods: dict[str, Document]) -> None:
    """Breaks if one rank came back alone: the others would wait for it in a collective that it never joins."""
    for runtime in [d for d in documents if d["kind"] == "ClusterTrainingRuntime"]:
        jobs = runtime["spec"]["template"]["spec"]
        assert jobs["failurePolicy"]["maxRestarts"] > 0
        [node] = jobs["replicatedJobs"]
        assert node["template"]["spec"]["backoffLimit"] == 0
        spec = pods[runtime["metadata"]["name"]]["spec"]
        assert spec["restartPolicy"] == "Never"
        [container] = spec["containers"]
        assert (node["name"], container["name"]) == ("node", "node"), "Trainer finds what it changes by these names"
        assert node["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
        assert {m["mountPath"] for m in container["volumeMounts"]} == {"/tmp", "/dev/shm"}


@pytest.mark.parametrize("documents", ["overlays/local"], indirect=True)
def test_a_training_that_hangs_is_started_again(
    containers: dict[str, Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtimes' own probe: breaks if nodes were held for days by ranks that wait for each other, or if a training
    that goes on were killed. Only the first node writes as it goes; another one's files are those it began with."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for runtime in ("orrery-cpu", "orrery-gpu"):
        python, *words = containers[f"{runtime}/node"]["livenessProbe"]["exec"]["command"]

        def dead(rank: str, words: list[str] = words) -> bool:
            told = [word.replace("/tmp", str(tmp_path)) for word in words]
            return subprocess.run([sys.executable, *told], env={"PET_NODE_RANK": rank}, timeout=60).returncode != 0

        assert python == "python"
        assert not dead("0"), "it has not begun"
        with scratch_folder("training") as folder:
            (folder / "scratch").mkdir()
            for name in ("job.json", "losses.jsonl"):
                (folder / "scratch" / name).touch()
            os.utime(folder / "scratch" / "job.json", (1, 1))
            assert not dead("0")
            os.utime(folder / "scratch" / "losses.jsonl", (1, 1))
            assert dead("0")
            assert not dead("1")


def test_the_policy_server_is_probed_for_what_each_probe_means(
    documents: list[Document], containers: dict[str, Document]
) -> None:
    """Breaks if robots were sent to a pod whose policy is not loaded, or a slow download was taken for a crash."""
    server = containers["policy-server/triton"]
    assert server["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert server["startupProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert server["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": "http"}
    startup = server["startupProbe"]["periodSeconds"] * server["startupProbe"]["failureThreshold"]
    [deployment] = [d["spec"] for d in documents if d["kind"] == "Deployment"]
    assert 300 <= startup <= deployment["progressDeadlineSeconds"]
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_policy_server_speaks_the_command_line(documents: list[Document], containers: dict[str, Document]) -> None:
    """Breaks if an option of `orrery serve` was renamed and the pod was not."""
    server = containers["policy-server/triton"]
    values = environment(server, documents)
    program, verb, *arguments = [a.replace("$(POLICY)", values["POLICY"]) for a in server["command"]]
    assert program == "orrery"
    command: Any = typer.main.get_command(app)
    parsed = command.commands[verb].make_context(verb, arguments).params
    assert (parsed["policy"], parsed["host"]) == (values["POLICY"], "0.0.0.0")
    ports = {p["name"]: p["containerPort"] for p in server["ports"]}
    assert ports == {"http": parsed["port"], "grpc": parsed["port"] + 1, "metrics": parsed["port"] + 2}


def test_minio_runs_as_many_servers_as_its_command_names(documents: list[Document]) -> None:
    """Breaks if servers waited for ever for ones that nobody starts."""
    [store] = [d for d in documents if d["kind"] == "StatefulSet"]
    [container] = store["spec"]["template"]["spec"]["containers"]
    where = container["command"][2]
    replicas = store["spec"]["replicas"]
    service = store["spec"]["serviceName"]
    assert where == ("/data" if replicas == 1 else f"http://minio-{{0...{replicas - 1}}}.{service}:9000/data")
    [nodes] = [d for d in documents if d["kind"] == "Service" and d["metadata"]["name"] == service]
    assert nodes["spec"]["clusterIP"] == "None"
    assert nodes["spec"]["publishNotReadyAddresses"] is True


@pytest.mark.parametrize("documents", ["base"], indirect=True)  # the overlays leave it as it is
def test_the_job_for_access_makes_bucket_and_users(
    documents: list[Document], containers: dict[str, Document], minio: Any, tmp_path: Path
) -> None:
    """The job's own command against a real MinIO, twice: jobs are run again."""
    job = containers["store-access/store-access"]
    url = f"s3://orrery-{uuid.uuid4().hex[:8]}"
    for role in ROLES:
        (tmp_path / role).mkdir()
        (tmp_path / role / KEY_FILE).write_text(f"{role}-{url[-8:]}")
        (tmp_path / role / SECRET_FILE).write_text(uuid.uuid4().hex)
    values = environment(job, documents) | {"ORRERY_STORE": url, "MINIO_ENDPOINT": minio.endpoint}
    secrets = {e["name"] for e in job["env"] if "valueFrom" in e}
    assert secrets == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    values |= {name: minio.environment[name] for name in secrets}
    [mount] = [m["mountPath"] for m in job["volumeMounts"] if m["name"] == "users"]
    told = [a.replace("$(ORRERY_STORE)", url).replace(mount, str(tmp_path)) for a in job["command"][1:]]
    said = [
        subprocess.run(
            [sys.executable, *told],
            env={**os.environ, **values},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert said[0].startswith(f"{url} made\n")
    assert said[1].startswith(f"{url} was there\n")
    assert all(f"\n{role}: writes " in said[1] for role in ROLES)
