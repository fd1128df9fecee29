"""Schedules and runs at Kubeflow Pipelines: what the real client sends over HTTP, and when a schedule comes next.

The server is a recorder (`tests/engines/kfp_recorder.py`). If these fail, runs overlap, missed ones pile up, or a run
that failed on the cluster is taken for a good one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.status import StatusWriter
from pipelines import kfp_cluster, runs, schedule
from pipelines.catalog import find
from pipelines.kfp_cluster import ClusterError
from pipelines.recipes import recipe
from pipelines.runner import StageFailed
from tests.engines.kfp_recorder import Recorder, recording

NOW = datetime(2030, 3, 30, 12, 0, tzinfo=UTC)
STORE = "s3://robots/store"
PIPELINE = "episode_intake"


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setattr(kfp_cluster, "POLL_SECONDS", 0.01)
    with recording() as recorder:
        yield recorder


@pytest.mark.parametrize(
    ("cron", "why"),
    [("0 3 * * *", "sixth in front, the second: '0 0 3"), ("0 0 25 * * *", "none"), ("* 0 3 * * *", "every second"),
     ("0 0 3 * *  bad", "none"), ("soon", "1 fields")],
)  # fmt: skip
def test_a_cron_that_would_not_do_what_it_seems_to_is_refused(cron: str, why: str) -> None:
    """KFP takes five fields for six, shifted by one: it would run every hour and not every day."""
    with pytest.raises(ConfigurationError, match=why):
        schedule.check_cron(cron)


def test_the_next_times_are_told_on_both_clocks() -> None:
    times = schedule.next_times("0 30 1 * * SUN", 2, NOW)
    assert [t.isoformat() for t in times] == ["2030-03-31T01:30:00+00:00", "2030-04-07T01:30:00+00:00"]
    berlin = [schedule.both_clocks(time, ZoneInfo("Europe/Berlin")) for time in times]
    assert berlin[0] == "Sun 2030-03-31 03:30:00 CEST (01:30:00 UTC)"  # half an hour after the clocks went forward


def test_a_schedule_neither_overlaps_nor_catches_up(kfp: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole life: made once, listed, paused, resumed, deleted; every request as KFP's own client sends it."""
    client = kfp_cluster.connect(kfp.url)
    built = recipe("robots", "tiny", ["record.episodes=3"])
    words = (client, find(PIPELINE), built, STORE, {}, "0 0  3 * * *", "nightly")
    made = schedule.create(*words)
    [sent] = kfp.all("recurringruns")
    assert sent["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (sent["max_concurrency"], sent["no_catchup"], sent["mode"]) == (1, True, "ENABLE")
    assert not sent.get("service_account"), "where KFP serves one team, the steps' account is its own"
    given = sent["runtime_config"]["parameters"]
    assert given["store"] == STORE
    assert json.loads(given["record_config"])["episodes"] == 3
    [version] = kfp.all("versions")
    assert sent["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]

    with pytest.raises(ConfigurationError, match="there is a schedule 'nightly'"):
        schedule.create(*words)
    found = schedule.find(client, "nightly")
    assert found.id == made.id
    assert len(found.document(NOW)["next"]) == 3  # type: ignore[arg-type]
    paused = schedule.pause(client, found)
    assert (paused.enabled, paused.document()["next"]) == (False, [])
    assert schedule.resume(client, paused).enabled
    schedule.delete(client, found)
    assert schedule.list_all(client) == []
    with pytest.raises(ConfigurationError, match="no schedule is called 'nightly'"):
        schedule.find(client, "nightly")
    assert capsys.readouterr().out == "", "scripts read one document of JSON there"


def test_a_version_is_named_by_its_content_and_uploaded_once(kfp: Recorder) -> None:
    client = kfp_cluster.connect(kfp.url)
    first, again = (kfp_cluster.upload(client, find(PIPELINE), recipe("robots", "tiny")) for _ in range(2))
    other = kfp_cluster.upload(client, find(PIPELINE), recipe("robots", "tiny", ["cluster.retries=0"]))
    assert first == again
    assert first.version_id != other.version_id
    assert (len(kfp.all("pipelines")), len(kfp.uploads)) == (1, 2)
    assert b"episode-intake" in kfp.uploads[0]


def test_a_kfp_of_several_teams_is_asked_for_ours(kfp: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses whoever names no namespace, and it lets nobody but its administrator make pipelines for all teams.

    A step with the rights of KFP's own account there, if it has one, could neither train nor be held in bounds.
    """
    kfp.multi_user = True
    monkeypatch.setenv(kfp_cluster.NAMESPACE, "robots")
    client, built = kfp_cluster.connect(kfp.url), recipe("robots", "tiny")
    made = schedule.create(client, find(PIPELINE), built, STORE, {}, "0 0 3 * * *", "nightly")
    assert schedule.find(client, "nightly").id == made.id
    assert {sent["namespace"] for kind in ("pipelines", "experiments") for sent in kfp.all(kind)} == {"robots"}
    assert [sent["service_account"] for sent in kfp.all("recurringruns")] == ["pipeline"]


def test_a_run_is_followed_to_its_end(kfp: Recorder, folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed run must end as one, with the message of the stage that failed; its record and stages stay."""
    client, built = kfp_cluster.connect(kfp.url), recipe("robots", "tiny")
    monkeypatch.setattr(kfp_cluster, "parameters", lambda *_: {"store": STORE})
    run_id = kfp_cluster.start(client, find(PIPELINE), built, folder_store, {})
    [sent] = kfp.all("runs")
    assert sent["runtime_config"]["parameters"] == {"store": STORE}
    said: list[str] = []
    done = kfp_cluster.follow(client, folder_store, find(PIPELINE), built, run_id, 60, said.append)
    assert (done.run, done.head.status) == (run_id, "succeeded")

    tasks = [{"display_name": name, "state": "FAILED"} for name in ("root", "agibot-intake", "agibot-intake(0)")]
    sent["run_details"], kfp.states = {"task_details": tasks}, ["FAILED"]
    with pytest.raises(StageFailed, match=f"^agibot-intake failed .* kubectl -n kubeflow logs .*{run_id}"):
        kfp_cluster.follow(client, folder_store, find(PIPELINE), built, run_id, 60, said.append)

    monkeypatch.setenv("ORRERY_PIPELINE", PIPELINE)
    monkeypatch.setenv("ORRERY_RUN", run_id)
    StatusWriter(folder_store, "agibot.intake").write("failed", message="nothing is usable")
    kfp.states = ["FAILED"]
    with pytest.raises(StageFailed, match=r"agibot\.intake: nothing is usable") as error:
        kfp_cluster.follow(client, folder_store, find(PIPELINE), built, run_id, 60, said.append)
    assert error.value.exit_code == 1
    assert said == ["agibot.intake: failed in 0 s nothing is usable"]
    assert runs.find(folder_store, run_id).head.status == "failed"

    kfp.states = ["RUNNING"]
    with pytest.raises(ClusterError, match=f"--follow {run_id}"):
        kfp_cluster.follow(client, folder_store, find(PIPELINE), built, run_id, 0.05, said.append)


def test_what_cannot_be_reached_is_said_with_exit_code_3(kfp: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(kfp_cluster.ENDPOINT, raising=False)
    with pytest.raises(ClusterError, match="--endpoint") as error:
        kfp_cluster.connect()
    assert error.value.exit_code == 3
    client = kfp_cluster.connect(kfp.url)
    with pytest.raises(ClusterError, match="it is not there"):
        schedule.delete(client, schedule.Schedule("gone", "n", "", True, 1, True, "", ""))
    with pytest.raises(ConfigurationError, match="s3://bucket"):
        kfp_cluster.parameters(find(PIPELINE), recipe("robots", "tiny"), "/a/folder", {})
