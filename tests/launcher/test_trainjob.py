"""If these fail, a TrainJob is refused by a cluster, found under another name, or its status is misread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.launcher.trainjob import Document, Owner, Placement, dropped, job_name, read_status, train_job
from tests.engines import crds

OWNER = Owner(apiVersion="argoproj.io/v1alpha1", kind="Workflow", name="w", uid="1-2-3")


def a_job(**placement: object) -> Document:
    place = Placement.model_validate({"image": "orrery/trainer:1", "nodes": 2, "processes_per_node": 4, **placement})
    name = job_name("run-1", "ge_base.stage1", "c")
    return train_job(name, place, ["python", "-m", "x"], {"B": "1", "A": "2"}, "c", OWNER)


@pytest.mark.parametrize("release", crds.TRAINER, ids=lambda release: release.version)
def test_every_release_of_trainer_knows_each_field(release: crds.Release) -> None:
    """Breaks if a field were pruned: a job would run without its queue, its nodes, or its accelerators."""
    crds.validate(a_job(queue="training", accelerator="nvidia.com/gpu", namespace="orrery"), release)


def test_a_queued_job_has_its_queue_its_priority_and_its_owner() -> None:
    """Breaks if a job went past the queue, if a night's retrain could not make way for a person's run, or if a job
    outlived its run. Nobody asks Kueue for a priority without a queue."""
    metadata = a_job(queue="training", priority="orrery-scheduled")["metadata"]
    assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    assert metadata["labels"]["kueue.x-k8s.io/priority-class"] == "orrery-scheduled"
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["1-2-3"]
    assert not [label for label in a_job(priority="orrery-scheduled")["metadata"]["labels"] if "kueue" in label]


def test_each_process_has_its_share() -> None:
    resources = a_job(accelerator="nvidia.com/gpu", cpus=2.5)["spec"]["trainer"]["resourcesPerNode"]
    assert resources["requests"]["cpu"] == "10"
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == "4"
    assert "cpu" not in resources["limits"], "a limit would throttle the ranks in turns"


@given(run=st.text(max_size=80), stage=st.text(max_size=80), content=st.text(max_size=9))
def test_names_fit_the_host_names_of_pods(run: str, stage: str, content: str) -> None:
    """A pod's host name is `<job>-node-0-<rank>`, a label of at most 63 characters that starts with a letter."""
    name = job_name(run, stage, content)
    assert len(f"{name}-node-0-9999-abcde") <= 63
    assert name[0] in "abcdefghijklmnopqrstuvwxyz"
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_name_says_run_stage_and_content() -> None:
    """Breaks if two trainings shared a job, or a restarted step did not find its own."""
    names = {job_name(*parts) for parts in (("r", "s", "c"), ("r2", "s", "c"), ("r", "s2", "c"), ("r", "s", "c2"))}
    assert len(names) == 4
    assert job_name("r", "s", "c") in names
    assert job_name("run 1", "ge_base.stage1", "c").startswith("ge-base-stage1-run-1-")


def test_what_was_dropped_is_named_and_what_was_added_is_not() -> None:
    asked = {"spec": {"a": 1, "list": [{"x": 1}, {"y": 2}], "gone": {"deep": True}}}
    got = {"spec": {"a": 2, "list": [{"x": 1, "default": 0}, {}], "suspend": True}}
    assert dropped(asked, got) == ["spec.a", "spec.list[1].y", "spec.gone"]
    assert dropped(asked, {"spec": {**asked["spec"], "suspend": True}}) == []


@pytest.mark.parametrize(
    ("conditions", "phase"),
    [
        ([], "waiting"),
        ([("Created", "True")], "waiting"),
        ([("Suspended", "True")], "suspended"),
        ([("Suspended", "False")], "waiting"),
        ([("Complete", "True")], "complete"),
        ([("Complete", "False"), ("Failed", "True")], "failed"),
        ([("Complete", "True"), ("Failed", "True")], "failed"),
        ([("Failed", "Unknown")], "waiting"),
    ],
)
def test_a_failed_job_is_never_read_as_done(conditions: list[tuple[str, str]], phase: str) -> None:
    status = {"conditions": [{"type": kind, "status": value} for kind, value in conditions]}
    assert read_status({"status": status}).phase == phase


def test_active_pods_are_a_running_job() -> None:
    assert read_status({}).phase == "waiting"
    assert read_status({"status": {"jobsStatus": [{"name": "node", "active": 1}]}}).phase == "running"
