"""`orrery plan`: what a run would take, before anything is spent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from components.store.api import Store
from data_contracts.lineage import RunRecord, StageStatus
from pipelines import runs
from pipelines.catalog import find
from pipelines.kfp_local import _in_order
from pipelines.kfp_local import tasks as tasks_of
from pipelines.plan import plan_of
from pipelines.recipes import recipe

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_hours_are_the_stages_shares_for_their_time(folder_store: Store) -> None:
    """Two ranks of phase 3 hold two CPUs for five minutes; what they hold is what others can't have."""
    tiny = recipe("robots", "tiny")
    plan = plan_of(folder_store, find("ge_act"), tiny)
    stages = {stage.title: stage for stage in plan.stages}
    third = stages["Phase 3: action specialization"]
    assert (third.known, third.seconds, third.share.cpus) == ("recipe", tiny.estimates["ge_act.specialize"], 2.0)
    assert third.hours.cpu_hours == pytest.approx(2 * tiny.estimates["ge_act.specialize"] / 3600)
    assert plan.hours.cpu_hours == pytest.approx(sum(stage.hours.cpu_hours for stage in plan.stages))
    assert (len(stages), plan.unknown, plan.hours.gpu_hours) == (8, 0, 0)


def test_gpus_and_pods_are_those_that_the_cluster_will_be_asked_for(folder_store: Store) -> None:
    settings = ["cluster.accelerator=nvidia.com/gpu", "cluster.nodes=2"]
    plan = plan_of(folder_store, find("ge_base"), recipe("robots", "tiny", settings))
    by_title = {stage.title: (stage.share.gpus, stage.nodes) for stage in plan.stages}
    assert (2, 2) in by_title.values(), "no training on two GPUs in two pods"
    assert (0, 0) in by_title.values(), "frames are taken without a GPU"


def test_of_branches_that_exclude_each_other_the_dearest_is_counted(folder_store: Store) -> None:
    """Breaks if a retrain were refused for the hours of training in full and of adapting, which no run does both of."""
    plan = plan_of(folder_store, find("retrain"), recipe("robots", "tiny"))
    titles = [stage.title for stage in plan.stages]
    assert {"Anything new?", "Stage 1: multi-rate", "Phase 3: action specialization", "Tell how it went"} <= set(titles)
    assert titles.count("Gate") == 1
    assert {"Video adaptation", "Action specialization", "Gate"} <= set(plan.instead)
    assert not {"Video adaptation", "Action specialization"} & set(titles)


def test_an_earlier_run_knows_better_than_the_recipe(folder_store: Store) -> None:
    """Breaks if the arms of one component were mixed up: they end in another order at a cluster than here. The newest
    run where a task ended well is the one that counts."""
    ran = {  # the third one failed in the newer run
        "two": {"ge-act-evaluate-3": ("policy", 99), "ge-act-evaluate": ("expert", 11), "ge-act-adapt": ("", 10)},
        "one": {"ge-act-evaluate-3": ("policy", 13), "ge-act-evaluate": ("expert", 1)},
    }
    for run, tasks in ran.items():
        names = []
        for task, (arm, seconds) in tasks.items():
            names.append(f"ge_act.evaluate-{arm}" if arm else "ge_act.adapt")
            status = "failed" if seconds == 99 else "succeeded"
            made = StageStatus.model_validate({"name": names[-1], "task": task, "status": status, "seconds": seconds})
            runs.write_stage(folder_store, "ge_act", run, made)
        record = RunRecord(
            run=run, pipeline="ge_act", recipe="tiny", config={}, status="succeeded",
            started_at=f"2030-01-0{1 + len(names)}T00:00:00+00:00", stages=tuple(names),
        )  # fmt: skip
        runs.write(folder_store, record)
    plan = plan_of(folder_store, find("ge_act"), recipe("robots", "tiny"))
    measured = {stage.title: stage.seconds for stage in plan.stages if stage.known == "measured"}
    assert measured == {"Phase 2: video adaptation": 10, "Arm: scripted expert": 11, "Arm: GE-Act": 13}
    titles = [stage.title for stage in plan.stages]
    assert titles == list(tasks_of(find("ge_act").load()).values()), "two plans of one recipe are in one order"


def test_tasks_that_do_not_wait_for_each_other_have_one_order() -> None:
    """Breaks if a plan, or a run's log, were in another order each time: protobuf's maps are, in each process."""
    before = {"b": ["a-10"], "a-10": [], "a-2": ["c"], "a": [], "c": []}
    for names in (sorted(before), sorted(before, reverse=True)):
        tasks = {name: SimpleNamespace(dependent_tasks=before[name]) for name in names}
        assert _in_order(tasks)[::-1] == ["a", "c", "a-2", "a-10", "b"]


def test_a_plan_over_budget_is_exit_code_1_and_names_the_field(orrery: Run) -> None:
    told = orrery("plan", "ge_act", "--set", "cluster.budget_cpu_hours=0.1", "--json")
    assert told.returncode == 1, told.stderr
    document = json.loads(told.stdout)
    assert document["cpu_hours"] > 0.1
    assert "cluster.budget_cpu_hours" in document["overspent"][0]
    assert orrery("plan", "ge_act").returncode == 0
