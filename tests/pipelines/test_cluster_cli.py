"""`orrery run --cluster`, `orrery schedule` and `orrery doctor --cluster` as people call them.

KFP is a recorder, the store a real MinIO. If these fail, a run's report stays on the cluster, nobody can look after a
schedule, or a person is told the wrong thing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.store.open import open_store
from components.store.status import StatusWriter
from data_contracts.lineage import RunRecord
from pipelines import cli, kfp_cluster, runs
from tests.engines import minio as minio_engine
from tests.engines.kfp_recorder import Recorder, recording

Orrery = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kfp(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setattr(kfp_cluster, "POLL_SECONDS", 0.01)
    with recording() as recorder:
        monkeypatch.setenv(kfp_cluster.ENDPOINT, recorder.url)
        yield recorder


@pytest.fixture
def url(minio_environment: minio_engine.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"s3://orrery/{tmp_path.name}"
    monkeypatch.setenv("ORRERY_STORE", url)
    return url


@pytest.fixture
def orrery(capsys: pytest.CaptureFixture[str]) -> Orrery:
    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(end.value.code or 0), said.out, said.err

    return call


def interrupted(*_: object) -> None:
    """Ctrl-C, instead of following."""
    raise KeyboardInterrupt


def test_a_run_at_kfp_brings_its_report_back(
    kfp: Recorder, url: str, orrery: Orrery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it ends well or not; and taken up again it is the same run, as it was started."""
    code, out, err = orrery("run", "episode_intake", "--cluster", "--set", "record.episodes=3", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["status"] == "succeeded"
    assert Path(told["report"]).is_file()
    store, run = open_store(url), told["run"]
    assert store.stat(f"runs/episode_intake/{run}/report.html")

    monkeypatch.setenv("ORRERY_PIPELINE", "episode_intake")
    monkeypatch.setenv("ORRERY_RUN", run)
    StatusWriter(store, "agibot.intake").write("failed", message="nothing is usable")
    Path(told["report"]).unlink()
    kfp.states = ["FAILED"]
    started = runs.find(store, run).head
    code, out, err = orrery("run", "episode_intake", "--follow", run)
    assert code == 1, err
    assert "agibot.intake: nothing is usable" in err
    assert "nothing is usable" in Path(told["report"]).read_text()
    head = runs.find(store, run).head
    assert (head.started_at, head.config) == (started.started_at, started.config), "as it was started"
    assert head.status == "failed"


def test_who_stops_following_is_told_that_the_run_goes_on(
    kfp: Recorder, url: str, orrery: Orrery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a person, told to start again, had two runs on the cluster."""
    monkeypatch.setattr(kfp_cluster, "_wait", interrupted)
    code, _, err = orrery("run", "episode_intake", "--cluster")
    assert (code, "goes on" in err, "orrery run episode_intake --follow runs-1" in err) == (130, True, True), err
    assert "start again" not in err


def test_a_run_that_nobody_followed_is_settled_when_somebody_looks(
    kfp: Recorder, url: str, orrery: Orrery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a run of a schedule, or of KFP's own page, were called running for ever; one of this machine is left
    alone."""
    kfp.states = ["RUNNING"]
    monkeypatch.setattr(kfp_cluster, "_wait", interrupted)
    run = "runs-1"
    assert orrery("run", "episode_intake", "--cluster")[0] == 130
    store = open_store(url)
    runs.write(store, runs.find(store, run).head.model_copy(update={"run": "tiny-here"}))

    def states() -> dict[str, str]:
        listed = json.loads(orrery("runs", "list", "--json")[1])["runs"]
        return {r["run"]: r["status"] for r in listed}

    assert states() == {run: "running", "tiny-here": "running"}
    monkeypatch.setenv("ORRERY_PIPELINE", "episode_intake")
    monkeypatch.setenv("ORRERY_RUN", run)
    StatusWriter(store, "agibot.intake").write("failed", message="nothing is usable")
    kfp.states, kfp.kept["runs"][run]["finished_at"] = ["FAILED"], "2099-01-01T00:00:00Z"
    assert states() == {run: "failed", "tiny-here": "running"}
    head = runs.find(store, run).head
    assert (head.message, head.stages) == ("agibot.intake: nothing is usable", ("agibot.intake",))
    assert head.seconds > 1e8, "until KFP saw it end, not until somebody looked"
    monkeypatch.setenv(kfp_cluster.ENDPOINT, "http://127.0.0.1:1")
    code, out, err = orrery("runs", "list")
    assert (code, "tiny-here" in out, "may have ended" in err) == (0, True, True), "KFP is away"


def test_an_outage_leaves_the_run_to_be_followed_again(
    kfp: Recorder, url: str, orrery: Orrery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a person's token has expired: what KFP said, and that nothing is lost."""
    monkeypatch.setattr(kfp_cluster, "OUTAGE_SECONDS", 0.05)
    monkeypatch.setattr(kfp_cluster._Watch, "look", lambda _: kfp.kept["runs"].clear())
    kfp.states = ["RUNNING"]
    code, _, err = orrery("run", "episode_intake", "--cluster")
    assert (code, "it is not there" in err, "orrery run episode_intake --follow runs-1" in err) == (3, True, True), err


def test_a_run_that_is_not_there_is_not_waited_for(kfp: Recorder, url: str, orrery: Orrery) -> None:
    """A typo would be asked for again and again, for as long as an outage may take."""
    code, _, err = orrery("run", "episode_intake", "--follow", "typo")
    assert (code, "it is not there" in err) == (3, True), err
    other = RunRecord(
        run="r", pipeline="ge_act", recipe="tiny", config={}, status="running", started_at="2030-01-01T00:00:00+00:00"
    )
    runs.write(open_store(url), other)
    code, _, err = orrery("run", "episode_intake", "--follow", "r")
    assert (code, "orrery run ge_act --follow r" in err) == (2, True), err


def test_a_schedules_whole_life(kfp: Recorder, url: str, orrery: Orrery) -> None:
    code, out, err = orrery("schedule", "create", "retrain", "--cron", "0 0 3 * * *", "--set", "drop=s3://robots/in")
    assert code == 0, err
    assert out.count("next  ") == 3
    assert "03:00:00 UTC" in out
    assert "retrain-tiny  on  " in orrery("schedule", "list")[1]
    [listed] = json.loads(orrery("schedule", "list", "--json")[1])["schedules"]
    assert (listed["max_concurrency"], listed["no_catchup"], len(listed["next"])) == (1, True, 3)
    assert orrery("schedule", "pause", "retrain-tiny")[0] == 0
    code, out, _ = orrery("schedule", "show", "retrain-tiny")
    assert (code, "none while it is paused" in out) == (0, True)
    assert orrery("schedule", "resume", "retrain-tiny")[0] == 0
    assert orrery("schedule", "delete", "retrain-tiny")[0] == 0
    code, _, err = orrery("schedule", "show", "retrain-tiny")
    assert (code, "there are: none" in err) == (2, True), err


CASES: list[tuple[list[str], int, str]] = [
    (["run", "drop_intake", "--cluster"], 2, "--set drop="),
    (["run", "episode_intake", "--cluster", "--store", "here"], 2, "--store s3://bucket/prefix"),
    (["schedule", "create", "retrain", "--cron", "0 0 3 * * *"], 2, "--set drop="),
    (["schedule", "create", "retrain", "--cron", "0 3 * * *", "--set", "drop=x"], 2, "'0 0 3 * * *'"),
    (["schedule", "create", "retrain", "--cron", "0 0 3 * * never", "--set", "drop=x"], 2, "month weekday"),
    (["run", "episode_intake", "--cluster"], 3, "Connection refused); is KF_PIPELINES_ENDPOINT right"),
    (["schedule", "list"], 3, "Connection refused"),
    (["doctor", "--cluster"], 3, "kubeconfig"),
]


@pytest.mark.parametrize(("words", "code", "part"), CASES, ids=[" ".join(words) for words, _, _ in CASES])
def test_what_is_wrong_is_said_before_anybody_is_asked(
    url: str, place: Path, orrery: Orrery, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, part: str
) -> None:
    """What a person can mend here comes first, with exit code 2; then who could not be reached, with 3."""
    monkeypatch.setenv(kfp_cluster.ENDPOINT, "http://127.0.0.1:1")
    (place / "kubeconfig").write_text("garbage")
    monkeypatch.setenv("KUBECONFIG", str(place / "kubeconfig"))
    monkeypatch.setenv("ORRERY_STORE", url if words[0] != "doctor" else "")
    got, out, err = orrery(*words)
    assert (got, out) == (code, ""), err
    assert part in err
