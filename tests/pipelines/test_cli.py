"""The `orrery` command: its documents, its exit codes, and no traceback for what a user could have caused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from components.store.open import open_store
from data_contracts.lineage import RunRecord, StageStatus
from pipelines import cli, runs

Run = Callable[..., subprocess.CompletedProcess[str]]


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The command in this process: exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def a_run(store: Path, run: str = "20260101-000000-tiny-0001", status: str = "succeeded") -> None:
    opened = open_store(str(store))
    stages = ("robots.record", "agibot.intake")
    runs.write(opened, RunRecord(run=run, pipeline="episode_intake", recipe="tiny", config={}, status=status,
                                 started_at=run, seconds=3.0, stages=stages))  # fmt: skip
    for i, name in enumerate(stages):
        state = StageStatus(name=name, status="cached", seconds=i + 0.5, version=f"{i:016x}", prefix="", started_at="x")
        runs.write_stage(opened, "episode_intake", run, state)


CASES = [
    # what is asked, the exit code, and what the one message must say
    (["runs", "show"], 2, ["no runs", "orrery demo"]),
    (["runs", "show", "zzz", "--store", "STORE"], 2, ["zzz", "20260101-000000-tiny-0001"]),
    (["runs", "shw"], 2, ["shw", "show"]),
    (["runs", "list", "--bogus"], 2, ["--bogus"]),
    (["run", "ge_acts"], 2, ["ge_acts", "ge_act", "policy_release"]),
    (["run", "ge_base", "--recipe", "huge"], 2, ["huge", "tiny"]),
    (["run", "ge_base", "--set", "stage1.train.stepz=1"], 2, ["stage1.train.steps"]),
    (["run", "ge_base", "--set", "stage1.train.warmup_steps=999"], 2, ["warmup_steps", "lower"]),
    (["run", "ge_base"], 2, ["dataset", "orrery run episode_intake --recipe tiny", "--input dataset=PREFIX"]),
    (["run", "ge_base", "--input", "video=x"], 2, ["video", "dataset"]),
    (["run", "ge_base", "--input", "dataset=datasets/no/such"], 2, ["datasets/no/such", "KIND/NAME/VERSION"]),
    (["compile"], 2, ["--all"]),
    (["compile", "--all", "ge_base"], 2, ["--all"]),
    (["run", "drop_intake"], 2, ["--set drop=FOLDER"]),
    (["datasets", "show", "tiny"], 2, ["tiny", "orrery run episode_intake"]),
    (["datasets", "diff", "a", "b"], 2, ["'a'"]),
    (["models", "show", "ge-act"], 2, ["ge-act"]),
    (["models", "promote", "ge-act", "--to", "prod"], 2, ["ge-act"]),
    (["models", "rollback", "ge-act", "--channel", "prod"], 2, ["prod", "production"]),
    (["models", "history", "../etc"], 2, ["../etc"]),
    (["serve", "ge-act@"], 2, ["ge-act@", "POLICY@CHANNEL"]),
    (["serve", "ge-act"], 2, ["ge-act"]),
    (["episodes", "record", "drop", "--task", "jump"], 2, ["jump", "press"]),
    (["episodes", "record", "drop", "--episodes", "0"], 2, ["--episodes"]),
    (["episodes", "validate", "no-drop"], 2, ["no-drop is not there", "s3://bucket/prefix"]),
    (["episodes", "validate", "no-drop", "--decode", "half"], 2, ["half", "sampled"]),
    (["episodes", "validate", "no-drop", "--camera", "nose"], 2, ["nose", "head_color"]),
    (["runs", "list", "--store", "ftp://x"], 2, ["ftp://x", "s3://"]),
    (["demo", "--recipe", "tinny"], 2, ["tinny", "tiny"]),
]


@pytest.mark.parametrize(("words", "code", "parts"), CASES, ids=[" ".join(words) for words, _, _ in CASES])
def test_bad_usage_ends_in_one_message_and_its_code(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, parts: list[str]
) -> None:
    """Whatever a user mistypes, they learn what was wrong and what to do."""
    if "STORE" in words:
        a_run(place / "store")
    words = [str(place / "store") if word == "STORE" else word for word in words]
    got, out, err = call(capsys, *words)
    assert got == code, err
    assert "Traceback" not in err
    assert out == ""
    for part in parts:
        assert part in err
    got, out, _ = call(capsys, *words, "--json")
    assert got == code
    assert json.loads(out)["exit_code"] == code


def test_a_run_that_lacks_something_leaves_nothing_behind(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks if a typing error stood among the runs as one that failed, with a report about nothing."""
    code, _, err = call(capsys, "run", "retrain")
    assert (code, "--set drop=FOLDER" in err) == (2, True), err
    assert json.loads(call(capsys, "runs", "list", "--json")[1]) == {"runs": []}


def test_an_unreachable_store_is_exit_code_3(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script must be able to tell `try again later` from `you are wrong`."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nobody")
    monkeypatch.setenv("MINIO_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("ORRERY_STORE_PATIENCE", "0")
    got, _, err = call(capsys, "runs", "list", "--store", "s3://nowhere/x")
    assert got == 3, err
    assert "127.0.0.1:9" in err
    assert "Traceback" not in err


def test_runs_show_prints_the_agreed_document(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other programs read exactly these keys."""
    a_run(place / "store")
    a_run(place / "store", "20260102-000000-tiny-0002", "failed")
    got, out, _ = call(capsys, "runs", "show", "last", "--json", "--store", str(place / "store"))
    assert got == 0
    assert json.loads(out) == {
        "run": "20260102-000000-tiny-0002",
        "pipeline": "episode_intake",
        "status": "failed",
        "stages": [
            {"name": "robots.record", "status": "cached", "seconds": 0.5, "version": "0" * 16},
            {"name": "agibot.intake", "status": "cached", "seconds": 1.5, "version": "0" * 15 + "1"},
        ],
        "cost": {"gpu_hours": 0.0, "cpu_hours": 0.0, "stages": []},
    }
    got, out, _ = call(capsys, "runs", "show", "20260101", "--store", str(place / "store"))
    assert got == 0
    assert "robots.record" in out


def test_empty_lists_are_documents_too(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for noun in ("runs", "models", "datasets"):
        got, out, _ = call(capsys, noun, "list", "--json")
        assert (got, json.loads(out)) == (0, {noun: []})
        got, out, _ = call(capsys, noun, "list")
        assert got == 0
        assert "try: orrery" in out


def test_a_report_can_be_written_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(place / "store")
    got, out, _ = call(capsys, "runs", "report", "--json", "--store", str(place / "store"))
    assert got == 0
    assert "robots.record" in Path(json.loads(out)["report"]).read_text()


def test_a_full_disk_is_said_in_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    a_run(place / "store")
    monkeypatch.setattr("components.telemetry.report.write", full)
    got, _, err = call(capsys, "runs", "report", "--store", str(place / "store"))
    assert got == 1
    assert err.count("\n") == 1
    assert "No space left on device" in err


def test_a_fault_of_ours_is_one_line_and_a_file(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even then no traceback floods a user's terminal; it lies where we can ask for it."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(runs, "read_all", broken)
    got, _, err = call(capsys, "runs", "list")
    assert got == 1
    assert err.count("\n") == 1
    assert "ZeroDivisionError" in (place / "home" / "last-fault.txt").read_text()


def test_a_stopped_command_says_so(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill` ends a run as Ctrl-C does: in order, with what to do next."""
    monkeypatch.setattr(runs, "read_all", lambda _: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    got, _, err = call(capsys, "runs", "list")
    assert got == 130
    assert "start again to go on" in err
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_drop_without_episodes_is_exit_code_1_and_a_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sampled examination says what it did not check: as JSON, in words, and before it is started."""
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "drop").mkdir()
    words = ("episodes", "validate", str(tmp_path / "drop"), "--decode", "sampled")
    code, out, _ = call(capsys, *words, "--json")
    document = json.loads(out)
    assert (code, document["summary"]["quarantined"], document["decode"]) == (1, 1, "sampled")
    assert document["weaker"]["video.hands-swapped"] == "not checked"
    code, out, _ = call(capsys, *words)
    assert (code, "inventory.empty-drop" in out, "video.hands-swapped  not checked" in out) == (1, True, True)
    assert "swapped hands" in " ".join(_help(["episodes", "validate"]).split())


def test_control_characters_of_names_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """An instruction with an escape sequence must not repaint anybody's screen."""
    from pipelines.commands.common import print_table

    print_table(["a"], [["\x1b[2Jgone"]], "")
    assert "\x1b" not in capsys.readouterr().out


def test_help_is_there_at_once(orrery: Run) -> None:
    """The command's start must not load kfp or torch; importing either takes seconds."""
    assert orrery("--help").returncode == 0
    heavy = "import sys, pipelines.cli; print({'kfp', 'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, timeout=60)
    assert loaded.stdout.strip() == "set()"


def test_every_verb_explains_itself_and_takes_json(orrery: Run) -> None:
    """Design: every verb takes --json and shows an example."""
    verbs = [["demo"], ["doctor"], ["run"], ["compile"], ["serve"]]
    verbs += [["runs", v] for v in ("list", "show", "report")] + [["datasets", v] for v in ("list", "show", "diff")]
    verbs += [["models", v] for v in ("list", "show", "promote", "rollback", "history")]
    verbs += [["episodes", v] for v in ("record", "validate")]
    for verb in verbs:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", "100")
            text = _help(verb)
        assert "--json" in text, verb
        assert "Example: orrery " + verb[0] in text, verb


def _help(verb: list[str]) -> str:
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        cli.main([*verb, "--help"])
    return said.getvalue()


def test_doctor_finds_this_machine_healthy_or_says_how_to_mend_it(orrery: Run) -> None:
    done = orrery("doctor", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["healthy"] else 1)
    found = {f["name"]: f for f in document["findings"]}
    assert found["python"]["state"] == "ok"
    assert found["store"]["state"] == "ok"
    assert all(f["mend"] for f in document["findings"] if f["state"] != "ok")


def test_doctor_names_a_store_that_cannot_be_written(orrery: Run, place: Path) -> None:
    (place / "file").write_text("")
    done = orrery("doctor", "--json", "--store", str(place / "file"))
    assert done.returncode == 1
    broken = [f for f in json.loads(done.stdout)["findings"] if f["state"] == "missing"]
    assert "store" in [f["name"] for f in broken]


def test_compile_says_where_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file to upload and one to apply; a wrong setting is named as everywhere."""
    code, out, _ = call(capsys, "compile", "drop_intake", "--out", str(tmp_path), "--json")
    assert code == 0
    [written] = json.loads(out)["compiled"].values()
    assert written == {
        "upload": str(tmp_path / "drop_intake.yaml"),
        "kubernetes": str(tmp_path / "kubernetes" / "drop_intake.yaml"),
    }
    assert all(Path(path).stat().st_size for path in written.values())
    code, _, error = call(capsys, "compile", "drop_intake", "--set", "cluster.hourz=2")
    assert code == 2
    assert "cluster.hours" in error
