"""`orrery plan`: what a run would take, before anything is spent."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from components.store.api import Store
from data_contracts.lineage import RunRecord, StageStatus
from pipelines import runs
from pipelines.catalog import find
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


def test_an_earlier_run_knows_better_than_the_recipe(folder_store: Store) -> None:
    """Evaluations are told apart by their order: the third of the component is the third that ended."""
    names = ("ge_act.adapt", "ge_act.evaluate-policy", "ge_act.evaluate-mean", "ge_act.evaluate-expert")
    for number, name in enumerate(names):
        runs.write_stage(folder_store, "ge_act", "one", StageStatus(name=name, status="succeeded", seconds=10 + number))
    record = RunRecord(
        run="one", pipeline="ge_act", recipe="tiny", config={}, status="succeeded",
        started_at="2030-01-01T00:00:00+00:00", stages=names,
    )  # fmt: skip
    runs.write(folder_store, record)
    plan = plan_of(folder_store, find("ge_act"), recipe("robots", "tiny"))
    measured = [stage.seconds for stage in plan.stages if stage.known == "measured"]
    assert sorted(s for s in measured if s is not None) == [10, 11, 12, 13]
    assert next(s for s in plan.stages if s.title == "Phase 2: video adaptation").seconds == 10


def test_a_plan_over_budget_is_exit_code_1_and_names_the_field(orrery: Run) -> None:
    told = orrery("plan", "ge_act", "--set", "cluster.budget_cpu_hours=0.1", "--json")
    assert told.returncode == 1, told.stderr
    document = json.loads(told.stdout)
    assert document["cpu_hours"] > 0.1
    assert "cluster.budget_cpu_hours" in document["overspent"][0]
    assert orrery("plan", "ge_act").returncode == 0
