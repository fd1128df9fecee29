"""A TrainJob's whole life against a real API server, under the account and with the rights of the manifests.

Nothing runs pods here, and Trainer's controller is not there: the tests set the status through the status subresource,
as that controller does. What pods print is tested where pods run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from components.launcher.client import ClusterError, TrainerClient
from components.launcher.follow import attend, follow, start
from components.launcher.trainjob import Owner
from components.store.errors import OrreryError
from tests.cluster.conftest import NEWEST, OLDEST
from tests.engines.cluster import Cluster, restart_api_server, scripts, wait_for

Job = dict[str, Any]
ATTENDANT = Path(__file__).with_name("attendant.py")


def name_of(job: Job) -> str:
    return str(job["metadata"]["name"])


@contextmanager
def attending(job: Job, folder: Path, seconds: float = 120) -> Iterator[subprocess.Popen[str]]:
    """A step in a process of its own that attends the job, under the current account."""
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    with open(folder / "said", "w") as said:
        process = subprocess.Popen([sys.executable, str(ATTENDANT), str(file), str(seconds)], stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Something that happens to the job while the test attends it; its error is the test's."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join(90)
    assert not errors, errors


@pytest.mark.parametrize("release", [OLDEST, NEWEST], ids=lambda release: release.version)
def test_a_job_is_made_once_and_then_adopted(
    release: Any, cluster: Cluster, client: TrainerClient, job: Callable[..., Job]
) -> None:
    """Breaks if a retried step started a second training, or if a release of Trainer dropped what the launcher asks."""
    if not cluster.serve_trainjobs(release):
        pytest.skip("this cluster has a Trainer of its own; its CRDs stay as they are")
    account = cluster.core.read_namespaced_service_account("pipeline", cluster.namespace)
    owner = Owner(apiVersion="v1", kind="ServiceAccount", name="pipeline", uid=account.metadata.uid)
    asked = job(owner=owner, queue="training", accelerator="nvidia.com/gpu")
    first, again = start(client, asked), start(client, asked)
    assert first["metadata"]["uid"] == again["metadata"]["uid"]
    [kept] = first["metadata"]["ownerReferences"]
    assert kept["uid"] == account.metadata.uid
    assert first["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert first["spec"]["trainer"] == asked["spec"]["trainer"]


def test_a_field_that_the_cluster_drops_is_named_and_nothing_is_left(
    cluster: Cluster, client: TrainerClient, job: Callable[..., Job]
) -> None:
    """Breaks if a setting were lost to an older CRD in silence: Trainer 2.0 knows no deadline of a TrainJob."""
    if not cluster.serve_trainjobs(OLDEST):
        pytest.skip("this cluster has a Trainer of its own; its CRDs stay as they are")
    try:
        asked = job()
        asked["spec"]["activeDeadlineSeconds"] = 60
        with pytest.raises(ClusterError, match=r"spec\.activeDeadlineSeconds"):
            start(client, asked)
        wait_for("the job is deleted", lambda: cluster.get(name_of(asked)) is None)
    finally:
        cluster.serve_trainjobs(NEWEST)


def test_another_training_of_the_same_name_is_not_adopted(client: TrainerClient, job: Callable[..., Job]) -> None:
    """Breaks if a step took over, or deleted, what somebody else trains."""
    mine = job()
    theirs = json.loads(json.dumps(mine))
    theirs["metadata"]["annotations"] = {"orrery/content": "another"}
    uid = start(client, theirs)["metadata"]["uid"]
    with pytest.raises(ClusterError, match="trains something else"):
        attend(client, mine, 30)
    found = client.get(name_of(mine))
    assert found is not None
    assert found["metadata"]["uid"] == uid


def test_a_complete_job_ends_the_wait(cluster: Cluster, client: TrainerClient, job: Callable[..., Job]) -> None:
    asked = job()

    def controller() -> None:
        cluster.uid(name_of(asked))
        cluster.end(name_of(asked), "Suspended")
        cluster.end(name_of(asked), "Complete")

    with meanwhile(controller):
        attend(client, asked, 60)


def test_a_failed_job_is_an_error_with_its_events_and_the_next_attempt_begins_anew(
    cluster: Cluster, client: TrainerClient, job: Callable[..., Job]
) -> None:
    """Breaks if a failed job were read as done (even beside a Complete), or kept every retry from starting."""
    asked = job()
    name = name_of(asked)
    seen: list[str] = []

    def controller() -> None:
        seen.append(cluster.uid(name))
        about = {"kind": "Pod", "name": f"{name}-node-0-1-abcde", "namespace": cluster.namespace}
        cluster.core.create_namespaced_event(
            cluster.namespace,
            {
                "metadata": {"generateName": "e-"},
                "involvedObject": about,
                "reason": "FailedScheduling",
                "message": "0/3 nodes have nvidia.com/gpu",
                "type": "Warning",
            },
        )
        pod = {"containers": [{"name": "node", "image": "none"}]}
        labels = {"jobset.sigs.k8s.io/jobset-name": name, "batch.kubernetes.io/job-completion-index": "1"}
        cluster.core.create_namespaced_pod(
            cluster.namespace, {"metadata": {"name": about["name"], "labels": labels}, "spec": pod}
        )
        cluster.end(name, "Complete", "Failed", message="jobset failed due to one or more failed jobs")

    with meanwhile(controller), pytest.raises(OrreryError) as failure:
        attend(client, asked, 60)
    text = str(failure.value)
    assert "jobset failed due to one or more failed jobs" in text
    assert "FailedScheduling: 0/3 nodes have nvidia.com/gpu" in text
    assert "the last lines of rank 1:" in text
    assert cluster.uid(name) == seen[0], "it is left to be looked at"
    assert start(client, asked)["metadata"]["uid"] != seen[0]


def test_a_job_that_takes_too_long_is_deleted(cluster: Cluster, client: TrainerClient, job: Callable[..., Job]) -> None:
    """Breaks if a training that hangs held its nodes after its step gave up."""
    asked = job()
    with pytest.raises(OrreryError, match="did not finish within 1 s and was deleted"):
        attend(client, asked, 1)
    wait_for("the job is deleted", lambda: cluster.get(name_of(asked)) is None)


def test_a_job_deleted_from_outside_is_named(cluster: Cluster, client: TrainerClient, job: Callable[..., Job]) -> None:
    """Breaks if a step waited for ever for what is gone, took it for done, or took a namesake for its own."""
    asked = job()

    def somebody() -> None:
        cluster.uid(name_of(asked))
        time.sleep(0.3)  # into the watch
        cluster.delete(name_of(asked))

    with meanwhile(somebody), pytest.raises(OrreryError, match="was deleted from outside"):
        attend(client, asked, 60)
    uid = start(client, asked)["metadata"]["uid"]
    cluster.delete(name_of(asked))
    start(client, asked)
    [ending] = follow(client, {name_of(asked): uid}, 30)
    assert ending.how == "deleted", "the one of this name is another attempt's"


def test_a_terminated_step_takes_its_job_away(
    cluster: Cluster, client: TrainerClient, job: Callable[..., Job], tmp_path: Path
) -> None:
    """SIGTERM is how Kubernetes ends a step that was cancelled, evicted or out of time: no node may stay held."""
    asked = job()
    with attending(asked, tmp_path) as step:
        cluster.uid(name_of(asked))
        step.send_signal(signal.SIGTERM)
        assert step.wait(60) == 128 + signal.SIGTERM, (tmp_path / "said").read_text()
    wait_for("the job is deleted", lambda: cluster.get(name_of(asked)) is None)


def test_a_killed_steps_job_is_adopted_by_the_next(
    cluster: Cluster, client: TrainerClient, job: Callable[..., Job], tmp_path: Path
) -> None:
    """Breaks if a step that died without a word cost a training that went on well."""
    asked = job()
    with attending(asked, tmp_path) as step:
        uid = cluster.uid(name_of(asked))
        step.kill()
        step.wait(30)
    with attending(asked, tmp_path) as step:
        wait_for("the next step follows", lambda: "waiting" in (tmp_path / "said").read_text())
        assert cluster.uid(name_of(asked)) == uid
        cluster.end(name_of(asked), "Complete")
        assert step.wait(60) == 0, (tmp_path / "said").read_text()


def test_an_api_server_that_restarts_is_waited_for(
    cluster: Cluster, client: TrainerClient, job: Callable[..., Job], tmp_path: Path
) -> None:
    """Breaks if an upgrade of the control plane ended every training, or if an end during it were missed."""
    folder = scripts(cluster)
    if folder is None:
        pytest.skip("only an API server that these tests booted is restarted")
    asked = job()
    with attending(asked, tmp_path) as step:
        uid = cluster.uid(name_of(asked))
        wait_for("the step follows", lambda: "waiting" in (tmp_path / "said").read_text())
        restart_api_server(folder, lambda: time.sleep(4))
        wait_for("the API server is back", cluster.ready)
        assert step.poll() is None, (tmp_path / "said").read_text()
        assert cluster.uid(name_of(asked)) == uid
        cluster.end(name_of(asked), "Complete")
        assert step.wait(60) == 0, (tmp_path / "said").read_text()
    assert "does not answer" in (tmp_path / "said").read_text()


def test_credentials_that_are_replaced_are_read_anew(
    cluster: Cluster, newest: Cluster, job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training outlives the token that its step began with; one that is not replaced is named."""
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    token, secret = cluster.token("pipeline")
    cluster.write_kubeconfig(path, token)
    asked = job()
    with attending(asked, tmp_path) as step:
        cluster.uid(name_of(asked))
        wait_for("the step follows", lambda: "waiting" in (tmp_path / "said").read_text())
        fresh, _ = cluster.token("pipeline")
        cluster.core.delete_namespaced_secret(secret, cluster.namespace)
        cluster.write_kubeconfig(path, fresh)
        time.sleep(12)  # the server remembers a good token for ten seconds, and a watch lasts eight
        assert step.poll() is None, (tmp_path / "said").read_text()
        cluster.end(name_of(asked), "Complete")
        assert step.wait(60) == 0, (tmp_path / "said").read_text()
    cluster.write_kubeconfig(path, "not-a-token")
    monkeypatch.setattr("components.launcher.client._DENIED_SECONDS", 0.5)
    with pytest.raises(ClusterError, match="401, to get trainjobs"):
        TrainerClient().get("x")


@pytest.mark.parametrize("verb", ["create", "get", "list", "watch", "delete"])
def test_a_right_that_is_missing_is_named(
    verb: str, cluster: Cluster, newest: Cluster, as_account: Callable[[str], Path], job: Callable[..., Job]
) -> None:
    """Breaks if a person had to guess which right their step lacks; and shows that every verb is needed."""
    verbs = [v for v in ("create", "get", "list", "watch", "delete") if v != verb]
    rules = [{"apiGroups": ["trainer.kubeflow.org"], "resources": ["trainjobs"], "verbs": verbs}]
    rules.append({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]})
    cluster.account(f"without-{verb}", rules)
    as_account(f"without-{verb}")
    client, asked = TrainerClient(), job()

    def whole_life() -> None:
        uid = start(client, asked)["metadata"]["uid"]
        assert [e.how for e in follow(client, {name_of(asked): uid}, 1)] == ["late"]
        client.delete(name_of(asked), uid)

    with pytest.raises(ClusterError, match=rf"may not {verb} trainjobs\.trainer\.kubeflow\.org .*403"):
        whole_life()


def test_a_hundred_jobs_are_followed_by_one_small_process(
    cluster: Cluster, client: TrainerClient, job: Callable[..., Job], tmp_path: Path
) -> None:
    """One watch for all: no job is polled, an end is seen within ten seconds, and all in 200 MiB."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    names = []
    for number in range(100):
        asked = job()
        names.append(name_of(asked))
        (folder / f"{number:03d}.json").write_text(json.dumps(asked))
    with subprocess.Popen(
        [sys.executable, str(ATTENDANT), str(folder), "120"], stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "following\n"
            started, asked_before = time.monotonic(), cluster.answered("GET", "LIST", "WATCH")
            seconds, set_at = 15.0, {}
            for name in names[:50]:  # in a burst
                set_at[name] = time.time()
                cluster.end(name, "Complete")
            time.sleep(max(0.0, seconds - (time.monotonic() - started)))  # and after a while of silence
            asked = cluster.answered("GET", "LIST", "WATCH") - asked_before
            passed = time.monotonic() - started
            for name in names[50:]:
                set_at[name] = time.time()
                cluster.end(name, "Failed" if name == names[-1] else "Complete")
            lines = [line.split() for line in process.stdout]
        finally:
            process.kill()
    ends = {name: (how, float(at)) for how, name, at in (line for line in lines if len(line) == 3)}
    assert ends.keys() == set(names)
    assert [name for name, (how, _) in ends.items() if how != "complete"] == [names[-1]]
    delays = [ends[name][1] - set_at[name] for name in names]
    [peak] = [int(line[1]) / 1024 for line in lines if line[0] == "peak"]
    print(f"peak {peak:.0f} MiB, {asked:.0f} requests in {passed:.0f} s, noticed after at most {max(delays):.2f} s")
    assert asked <= 2 + passed / 5, "all jobs together ask no more than one job may"
    assert max(delays) < 10
    assert peak < 200
