"""Broken files bring libraries down: a worker that dies or hangs must cost its own task and no other."""

from __future__ import annotations

from components.agibot.pool import Failure, run_tasks
from tests.agibot.pool_tasks import work


def test_a_worker_that_dies_hangs_or_raises_costs_one_task() -> None:
    tasks = ["a", "die", "b", "raise", "memory", "hang", "c"]
    found = dict(run_tasks(work, tasks, lambda task: 1.0 if task == "hang" else 60.0, workers=2))
    results = [found[i] for i in range(len(tasks))]
    assert [r for r in results if isinstance(r, str)] == ["did a", "did b", "did c"]
    why = {task: r.message for task, r in zip(tasks, results, strict=True) if isinstance(r, Failure)}
    assert "died" in why["die"]
    assert "-11" in why["die"]
    assert why["raise"] == "ValueError: a defect of ours"
    assert "memory" in why["memory"]
    assert why["hang"] == "it did not end within 1 s"


def test_no_tasks_need_no_workers() -> None:
    assert list(run_tasks(work, [], lambda task: 1.0)) == []
