"""The local runner, through the real kfp.local: results, exit codes, kills, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from components.store.open import open_store
from components.store.records import load_record
from pipelines import runs

HERE = Path(__file__).parent


def start(place: Path, **second: Any) -> subprocess.Popen[str]:
    """The toy run as a process: `second` configures its second stage."""
    trace = str(place / "trace.txt")
    configs = [json.dumps({"trace": trace}), json.dumps({"trace": trace, **second})]
    return subprocess.Popen(
        [sys.executable, str(HERE / "toy_run.py"), str(place / "store"), *configs],
        cwd=place, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, error = process.communicate(timeout=120)
    return process.returncode, error


def built(place: Path) -> list[str]:
    """Stages whose work was done, in order, once for each time."""
    path = place / "trace.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def stages(place: Path) -> list[tuple[str, str]]:
    return [(s.name, s.status) for _, s in runs.find(open_store(str(place / "store"))).stages]


def test_a_run_publishes_records_itself_and_is_not_repeated(place: Path) -> None:
    """The whole promise in small: outputs with lineage, a record, a report; and a second run that builds nothing."""
    code, said = finish(start(place))
    assert code == 0, said
    assert stages(place) == [("toy.first", "succeeded"), ("toy.second", "succeeded")]
    store = open_store(str(place / "store"))
    run = runs.find(store)
    assert [s.task for _, s in run.stages] == ["toy-first", "toy-second"], "or no plan knows what a task took"
    record = load_record(store, run.parts[0].outputs["toy"].prefix)
    assert record.inputs["source"].stage == "toy.first"
    assert run.head.status == "succeeded"
    assert (place / "home" / "reports" / f"{run.run}.html").is_file()
    assert store.stat(f"runs/toy/{run.run}/report.html")
    assert "KFP" not in said
    assert "[ 2/2]" in said

    code, said = finish(start(place))
    assert code == 0, said
    assert stages(place) == [("toy.first", "cached"), ("toy.second", "cached")]
    assert built(place) == ["toy.first", "toy.second"]


@pytest.mark.parametrize(("fail", "code"), [("work", 1), ("configuration", 2), ("store", 3), ("bug", 1), ("killed", 1)])
def test_a_failing_stage_ends_in_one_message_and_its_own_exit_code(place: Path, fail: str, code: int) -> None:
    """Scripts act on the code, people on the message; a traceback helps neither."""
    got, said = finish(start(place, fail=fail))
    assert got == code
    assert "Traceback" not in said
    message = said.strip().splitlines()[-1]
    assert message.startswith("toy.second: ")
    expected = {"bug": "a fault of ours", "killed": "it was killed"}.get(fail, "wind it up again")
    assert expected in message
    run = runs.find(open_store(str(place / "store")))
    assert run.head.status == "failed"
    assert run.stages[-1][1].status == "failed"
    assert expected in run.stages[-1][1].message
    if fail == "bug":  # the details are for us, in a file
        assert "Traceback" in (place / "home" / "logs" / run.run / "toy.toy-second.log").read_text()


def test_a_killed_run_leaves_nothing_running_and_goes_on_when_started_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` of the runner must not leave an orphan that still writes, fill the disk or cost the finished stages."""
    temporary = place / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = start(place, wait=60)
    pid = int(_wait_for(place, "toy.second").split()[1])
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while _exists(pid):
        assert time.monotonic() < deadline, "the stage outlived its runner"
        time.sleep(0.05)

    run = runs.find(open_store(str(place / "store")))
    assert run.head.status == "failed"
    assert run.document()["stages"][-1]["status"] == "failed"  # type: ignore[index]
    assert list(temporary.iterdir())

    code, said = finish(start(place, wait=0))
    assert code == 0, said
    assert stages(place) == [("toy.first", "cached"), ("toy.second", "succeeded")]
    assert built(place).count("toy.first") == 1
    assert list(temporary.iterdir()) == []


def test_an_interrupted_run_says_so(place: Path) -> None:
    """Ctrl-C ends the stage with the runner, and the record does not stay `running` for ever."""
    process = start(place, wait=60)
    pid = int(_wait_for(place, "toy.second").split()[1])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert not _exists(pid)
    run = runs.find(open_store(str(place / "store")))
    assert run.head.status == "failed"
    assert "interrupted" in run.head.message


def test_pipelines_of_one_run_hand_on_their_outputs(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`orrery demo` is such a run: one id, one record for the whole, one report; and `orrery run` finds its outputs."""
    from toy_run import ToyPipeline, ToyRecipe

    from pipelines import runner

    store = open_store(str(place / "store"))
    follow = ToyPipeline("toy_next", {"toy": ("toy",)})
    outcome = runner.run([ToyPipeline(), follow], ToyRecipe(), store)  # type: ignore[list-item, arg-type]
    assert outcome.run.document()["pipeline"] == "demo"
    assert [part.pipeline for part in outcome.run.parts] == ["demo", "toy", "toy_next"]
    assert [(pipeline, s.name) for pipeline, s in outcome.run.stages] == [
        ("toy", "toy.first"), ("toy", "toy.second"), ("toy_next", "toy.second"),
    ]  # fmt: skip
    found = runner.inputs(store, follow, ToyRecipe(), [])  # type: ignore[arg-type]
    assert json.loads(found["toy"]) == outcome.run.parts[1].outputs["toy"].model_dump()
    assert found == runner.inputs(store, follow, ToyRecipe(), [f"toy={json.loads(found['toy'])['prefix']}"])  # type: ignore[arg-type]
    capfd.readouterr()
    again = runner.run([ToyPipeline(), follow], ToyRecipe(), store)  # type: ignore[list-item, arg-type]
    assert {s.status for _, s in again.run.stages} == {"cached"}
    assert "3 stages, about 4 s" in capfd.readouterr().err


def test_what_was_not_used_as_asked_is_said(place: Path) -> None:
    """A learning rate that is ignored in silence spoils a month of runs."""
    code, said = finish(start(place, effective="good bye"))
    assert code == 0
    assert "warning: toy.second did not use its configuration as asked: text: asked for hello, used good bye" in said
    assert said.count("warning") == 1
    run = runs.find(open_store(str(place / "store")))
    assert "good bye" in (place / "home" / "reports" / f"{run.run}.html").read_text()


def test_a_store_that_is_none_is_said_at_once(place: Path) -> None:
    """A wrong path must not surface as a traceback minutes later, in some stage."""
    (place / "store").write_text("a file where the folder should be")
    code, said = finish(start(place))
    assert code == 2, said
    assert str(place / "store") in said
    assert "Traceback" not in said


def _wait_for(place: Path, stage: str) -> str:
    """The trace's line of `stage`, once it has begun."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = place / "trace.txt"
        for line in path.read_text().splitlines() if path.exists() else ():
            if line.startswith(stage):
                return line
        time.sleep(0.05)
    raise AssertionError(f"{stage} did not begin")


def _exists(pid: int) -> bool:
    """Whether the process still runs; a zombie that nobody has awaited does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
