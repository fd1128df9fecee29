"""What stages cost. If these fail, hours are lost or counted twice, or a run overspends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from components.launcher.follow import _tell
from components.launcher.trainjob import Status
from components.store.api import Store
from components.store.cost import BUDGET, SHARE, OverBudget, metered, queued, read_usage, spent
from components.store.errors import ConfigurationError, StoreError
from components.store.stage import Workspace, run_stage
from data_contracts.base import Contract
from data_contracts.cost import Hours, Share, Usage, planned_seconds
from data_contracts.lineage import Metric, StageRecord


class Empty(Contract):
    pass


@pytest.fixture(autouse=True)
def in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORRERY_PIPELINE", "ge_act")
    monkeypatch.setenv("ORRERY_RUN", "one")
    monkeypatch.setenv(SHARE, Share(nodes=2, gpus=8, cpus=16).model_dump_json())


def written(ws: Workspace) -> dict[str, Metric]:
    (ws.out / "a").write_text("a")
    return {}


def stage(store: Store, seed: int = 0, build: Callable[[Workspace], dict[str, Metric]] = written) -> StageRecord:
    return run_stage(
        store=store, stage="toy.first", kind="models", name="toy", inputs={}, config=Empty(), seed=seed,
        sources=("data_contracts/base.py",), build=build,
    )  # fmt: skip


def usage(stage: str, start: int, seconds: float | None) -> Usage:
    at = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=start)
    return Usage(
        run="one", pipeline="p", stage=stage, share=Share(nodes=2, gpus=8, cpus=4), started_at=at.isoformat(),
        seconds=seconds,
    )  # fmt: skip


def test_only_work_is_counted(folder_store: Store) -> None:
    """What is found in the store cost nothing: else every repeated run would look as dear as the first."""
    stage(folder_store)
    [first] = read_usage(folder_store, "one")
    assert (first.stage, first.share.gpus, first.seconds is not None) == ("toy.first", 8, True)
    stage(folder_store)
    assert len(read_usage(folder_store, "one")) == 1
    stage(folder_store, seed=1)
    assert len(read_usage(folder_store)) == 2


def test_a_failed_attempt_is_counted_too(folder_store: Store) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), metered(folder_store, "toy.first"):
            raise ZeroDivisionError
    assert [u.seconds is not None for u in read_usage(folder_store, "one")] == [True, True]


def test_hours_are_nodes_times_gpus_times_time() -> None:
    """A killed attempt lasted until the next one, and the last until the run's end."""
    ends = datetime(2030, 1, 1, 3, tzinfo=UTC)
    counted = spent([usage("a", 0, None), usage("a", 1800, 1800), usage("b", 7200, None)], ends)
    assert [hours.gpu_hours for _, hours in counted] == [8.0, 8.0, 16.0]
    assert sum((hours for _, hours in counted), Hours()) == Hours(gpu_hours=32.0, cpu_hours=16.0)


def test_a_step_that_was_killed_costs_no_more_than_it_lived(
    folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a run that nobody follows, whose pod is gone, cost more with every day that passes."""
    gone = usage("a", 0, None).model_copy(update={"seen_at": "2030-01-01T00:50:00+00:00"})
    [(_, hours)] = spent([gone], datetime(2030, 2, 1, tzinfo=UTC))
    assert hours.gpu_hours == 16.0, "an hour: ten minutes are doubted"
    monkeypatch.setattr("components.store.cost.BEAT_SECONDS", 0.01)
    with metered(folder_store, "toy.first"):
        until = time.monotonic() + 30
        while not read_usage(folder_store)[0].seen_at and time.monotonic() < until:
            time.sleep(0.01)
        assert read_usage(folder_store)[0].seen_at
    [ended] = read_usage(folder_store)
    time.sleep(0.05)
    assert ended.seconds is not None
    assert read_usage(folder_store) == [ended], "its last word is its last"


def test_a_queue_holds_nothing(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a team paid for the hours in which its training waited for others, or a budget ended it meanwhile."""
    ended = usage("a", 0, 7200).model_copy(update={"queued_seconds": 3600})
    waits = usage("b", 7200, None).model_copy(update={"queued_since": "2030-01-01T02:30:00+00:00"})
    counted = spent([ended, waits], datetime(2030, 1, 1, 5, tzinfo=UTC))
    assert [hours.gpu_hours for _, hours in counted] == [16.0, 8.0]
    queued(True)  # outside of a stage nobody counts
    with metered(folder_store, "toy.first"):
        for phase in ("waiting", "suspended", "suspended"):
            _tell("job", Status(phase=phase))  # type: ignore[arg-type]
        [now] = read_usage(folder_store)
        assert now.queued_since
        time.sleep(0.02)
        _tell("job", Status(phase="running"))
        [now] = read_usage(folder_store)
        assert (now.queued_since, now.seconds) == ("", None)
        assert now.queued_seconds >= 0.02
        _tell("job", Status(phase="suspended"))
        time.sleep(0.02)
    [then] = read_usage(folder_store)
    assert then.seconds is not None
    assert 0.04 <= then.queued_seconds <= then.seconds + 0.001
    assert then.queued_since == ""


def test_an_estimate_speaks_for_the_arms_of_a_stage() -> None:
    estimates = {"ge_act.evaluate": 40.0, "ge_act.evaluate-policy": 50.0}
    assert planned_seconds(estimates, "ge_act.evaluate-mean-action") == 40.0
    assert planned_seconds(estimates, "ge_act.evaluate-policy") == 50.0
    assert planned_seconds(estimates, "ge_act.evaluated") is None


def budget(monkeypatch: pytest.MonkeyPatch, **fields: object) -> None:
    monkeypatch.setenv(BUDGET, json.dumps({"seconds": {"toy.first": 3600}, **fields}))


def test_a_stage_that_the_budget_does_not_cover_never_starts(
    folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 GPUs for the hour that the recipe plans, of 24 GPU-hours: the second one would be too much."""
    budget(monkeypatch, gpu_hours=15.9)
    with pytest.raises(
        OverBudget, match=r"toy.first would take about 16 GPU-hours.* cluster.budget_gpu_hours"
    ) as error:
        stage(folder_store)
    assert error.value.exit_code == 1
    assert read_usage(folder_store) == []
    budget(monkeypatch, gpu_hours=24)
    stage(folder_store)
    folder_store.overwrite("runs/usage/one/p.b.x.json", usage("b", 0, 1800.0).model_dump_json().encode())
    with pytest.raises(OverBudget, match="has used 8"):
        stage(folder_store, seed=1)
    stage(folder_store)  # what is there already costs nothing, so it is never refused
    monkeypatch.setenv("ORRERY_RUN", "two")
    stage(folder_store, seed=1)  # another run has its own budget


def test_cpu_hours_have_a_budget_of_their_own(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    budget(monkeypatch, cpu_hours=31)
    with pytest.raises(OverBudget, match="CPU-hours"):
        stage(folder_store)


def test_a_stage_is_stopped_before_the_budget_is_spent(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a stage that takes longer than anybody had thought went on for days on what others were promised, or if
    its work so far went uncounted."""
    monkeypatch.setattr("components.store.cost.LOOK_SECONDS", 0.02)
    monkeypatch.setenv(BUDGET, json.dumps({"gpu_hours": 16 * 0.3 / 3600}))  # 16 GPUs for 0.3 s, and no estimate
    before = signal.getsignal(signal.SIGUSR1)

    def lasting(ws: Workspace) -> dict[str, Metric]:
        with suppress(OverBudget):  # as a library's `except Exception` may do
            time.sleep(60)
        time.sleep(60)
        return {}

    def quick(ws: Workspace) -> dict[str, Metric]:
        time.sleep(0.1)
        return written(ws)

    with pytest.raises(OverBudget, match=r"toy\.first was stopped: .* cluster\.budget_gpu_hours") as error:
        stage(folder_store, build=lasting)
    assert error.value.exit_code == 1
    [used] = read_usage(folder_store, "one")
    assert used.seconds is not None
    assert used.seconds < 60
    with pytest.raises(OverBudget, match="would take about 0 GPU-hours"):
        stage(folder_store)  # KFP starts a failed step again
    monkeypatch.setenv("ORRERY_RUN", "two")
    monkeypatch.setenv(BUDGET, json.dumps({"gpu_hours": 1000}))
    stage(folder_store, build=quick)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_store_that_is_away_stops_no_stage(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.store.cost.LOOK_SECONDS", 0.01)
    budget(monkeypatch, gpu_hours=1000)
    asked = []

    def away(*_: object) -> list[Usage]:
        asked.append(1)
        raise StoreError("MinIO does not answer")

    def build(ws: Workspace) -> dict[str, Metric]:
        with monkeypatch.context() as patch:
            patch.setattr("components.store.cost.read_usage", away)
            wait_until = time.monotonic() + 30
            while len(asked) < 3 and time.monotonic() < wait_until:
                time.sleep(0.01)
        return written(ws)

    stage(folder_store, build=build)
    assert len(asked) >= 3


def test_outside_of_a_run_nothing_is_counted(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORRERY_RUN")
    stage(folder_store)
    assert read_usage(folder_store) == []


def test_a_share_that_is_none_is_refused(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARE, "{}x")
    with pytest.raises(ConfigurationError, match=SHARE):
        stage(folder_store)
    monkeypatch.delenv(SHARE)
    stage(folder_store)
    assert read_usage(folder_store)[0].share.cpus == len(os.sched_getaffinity(0))
