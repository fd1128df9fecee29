"""What the pipelines themselves cost: compiling them, and starting a stage. If these fail, people wait for nothing."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import runs
from pipelines.catalog import PIPELINES
from tests.benchmarks.conftest import Table

MOST_COMPILE_SECONDS = 20.0
MOST_OVERHEAD_SECONDS = 3.0
TOYS = Path(__file__).parents[1] / "pipelines"


def test_all_pipelines_compile(table: Table, tmp_path: Path) -> None:
    """In CPU seconds of a process of its own, the command's start included."""
    command = [sys.executable, "-m", "pipelines.cli", "compile", "--all", "--out", str(tmp_path)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert {path.stem for path in tmp_path.glob("*.yaml")} == set(PIPELINES)
    table("compiling", [(f"all {len(PIPELINES)} pipelines, CPU", f"{seconds:.1f} s")])
    assert seconds <= MOST_COMPILE_SECONDS


def test_a_stage_starts_soon(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the stages' own work, of a run of two stages: the runner's start and report, KFP, imports."""
    monkeypatch.syspath_prepend(str(TOYS))
    from toy_stages import ToyConfig

    from components.store.open import open_store

    store = tmp_path / "store"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{TOYS}:{TOYS.parents[1]}",
        "ORRERY_HOME": str(tmp_path / "home"),
        "ORRERY_CACHE": str(tmp_path / "cache"),
    }
    fresh = []
    for turn in range(3):
        config = ToyConfig(text=f"turn {turn}").model_dump_json()
        command = [sys.executable, str(TOYS / "toy_run.py"), str(store), config, config]
        started = time.monotonic()
        subprocess.run(command, check=True, timeout=120, env=environment, cwd=tmp_path, capture_output=True)
        wall = time.monotonic() - started
        stages = [stage for _, stage in runs.read_all(open_store(str(store)))[0].stages]
        assert [stage.status for stage in stages] == ["succeeded"] * 2
        fresh.append((wall - sum(stage.seconds for stage in stages)) / len(stages))
    table("a stage, without its own work", [("best of three runs", f"{min(fresh):.2f} s")])
    assert min(fresh) <= MOST_OVERHEAD_SECONDS
