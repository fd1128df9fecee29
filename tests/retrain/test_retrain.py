"""What a recurring retrain sees, decides and tells. If these fail, it trains on nothing, or on the same data again."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.agibot.config import IntakeConfig
from components.retrain.config import DecideConfig, DropsConfig, NotifyConfig
from components.retrain.drops import arrived
from components.retrain.notify import NOTICE, send
from components.retrain.stages import decide, notify, take_in
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.records import load_record
from components.store.stage import Workspace, run_stage
from components.store.status import RUN_OF, StatusWriter
from data_contracts.base import Contract
from data_contracts.dataset import DatasetManifest
from data_contracts.lineage import Kind, Metric, StageRecord
from data_contracts.release import Decision
from data_contracts.retrain import RetrainDecision, RetrainNotice
from pipelines import runs

POLICY = "arm"


class Toy(Contract):
    text: str = ""


def published(
    store: Store, stage: str, kind: Kind, name: str, files: dict[str, str], **inputs: StageRecord
) -> StageRecord:
    """A version with these files, as `stage` would have published it."""

    def build(ws: Workspace) -> dict[str, Metric]:
        for path, text in files.items():
            (ws.out / path).write_text(text)
        return {}

    return run_stage(
        store=store, stage=stage, kind=kind, name=name, inputs=inputs, config=Toy(text="".join(files.values())), seed=0,
        sources=("data_contracts/base.py",), build=build,
    )  # fmt: skip


def dataset(store: Store, episodes: int, mean: float = 0.0) -> StageRecord:
    """A dataset's version with so many episodes, whose actions are `mean` on average with a deviation of 1."""
    entries = [
        {"index": n, "task_id": 1, "episode_id": n, "instruction": "press", "frames": 10, "source_sha256": str(n)}
        for n in range(episodes)
    ]
    normal = {"mean": [mean], "std": [1.0]}
    statistics = [{"space": "joint", "form": "absolute", "normalisation": normal, "q01": [0.0], "q99": [1.0]}]
    summary = {"accepted": episodes, "repaired": 0, "quarantined": 0, "frames": 10 * episodes, "seconds": 1.0}
    manifest = DatasetManifest.model_validate(
        {
            "name": "toys", "embodiment": "agibot_g1", "fps": 30, "cameras": ["head_color"], "episodes": entries,
            "statistics": statistics, "state_statistics": {"joint": normal}, "summary": summary, "source": {},
        }
    )  # fmt: skip
    return published(store, "agibot.join", "datasets", "toys", {"manifest.json": manifest.model_dump_json()})


def judged(store: Store, data: StageRecord, passed: bool = True, released: bool = True) -> StageRecord:
    """A policy that learned from `data` and came before the gate; the released one, if it passed."""
    model = published(store, "ge_act.specialize", "models", "toy-model", {"model": data.version}, dataset=data)
    codec = published(store, "ge_base.codec", "models", "toy-codec", {"codec": "c"})
    rule = {"name": "toy", "value": None, "threshold": None, "passed": passed, "sentence": "It is a toy."}
    decision = Decision.model_validate(
        {"policy": POLICY, "passed": passed, "model": model.as_input().model_dump(), "rules": [rule]}
    )
    gate = published(
        store, "release.gate", "evaluations", f"{POLICY}-gate", {"decision.json": decision.model_dump_json()},
        model=model,
    )  # fmt: skip
    if passed and released:
        from components.release import registry

        made = published(
            store, "release.publish", "models", POLICY, {"weights": data.version}, model=model, codec=codec, gate=gate
        )
        registry.promote(store, POLICY, made.version, "production")
    return model


def choice(store: Store, data: StageRecord | None, **config: object) -> RetrainDecision:
    """The decision, as the record holds it."""
    [mode] = decide(store, DecideConfig.model_validate({"policy": POLICY, **config}), 0, data)
    [record] = [r for r in _decisions(store) if r.metrics["mode"] == mode][-1:]
    ref = record.object("decision.json")
    return RetrainDecision.model_validate_json(store.read(f"{record.prefix}/decision.json", ref.sha256))


def _decisions(store: Store) -> list[StageRecord]:
    keys = [s.key for s in store.list(f"evaluations/{POLICY}-retrain") if s.key.endswith("/record.json")]
    return [load_record(store, key.removesuffix("/record.json")) for key in keys]


def test_every_folder_in_the_place_is_a_drop_and_a_drop_alone_is_one(folder_store: Store, tmp_path: Path) -> None:
    for name in ("b/task_info/task_1.json", "a/observations/1/2.tar", "a/_SUCCESS"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("12345")
    place = str(tmp_path)
    found = arrived(folder_store, DropsConfig(source=place))
    assert list(found) == [f"{place}/a", f"{place}/b"]
    assert found[f"{place}/b"] == {("task_info/task_1.json", 5)}
    assert list(arrived(folder_store, DropsConfig(source=f"{place}/b"))) == [f"{place}/b"]
    assert list(arrived(folder_store, DropsConfig(source=place, ready="_SUCCESS"))) == [f"{place}/a"]


def test_drops_in_the_store_are_found_by_their_prefix(folder_store: Store) -> None:
    for key in ("uploads/a/task_info/t.json", "uploads/b/task_info/t.json", "uploads-2/c/task_info/t.json"):
        folder_store.create(key, b"12")
    assert list(arrived(folder_store, DropsConfig(source="uploads/"))) == ["uploads/a", "uploads/b"]


def test_an_empty_place_is_no_error_and_a_missing_one_is(folder_store: Store, tmp_path: Path) -> None:
    """A schedule that starts before the first upload must wait; one with a typo must say so."""
    assert arrived(folder_store, DropsConfig(source=str(tmp_path))) == {}
    with pytest.raises(ConfigurationError, match="no folder"):
        arrived(folder_store, DropsConfig(source=str(tmp_path / "typo")))


def test_without_a_drop_there_is_no_dataset_and_the_run_is_skipped(folder_store: Store) -> None:
    assert take_in(folder_store, IntakeConfig(name="toys"), 0, []).dataset is None
    assert choice(folder_store, None).mode == "skip"


def test_the_first_dataset_is_trained_in_full_and_then_left_alone(folder_store: Store) -> None:
    """The second run after a training must cost nothing; a refused policy is no reason to train the same again."""
    data = dataset(folder_store, 4)
    assert choice(folder_store, data).mode == "full"
    judged(folder_store, data, passed=False)
    again = choice(folder_store, data)
    assert (again.mode, again.judged) == ("skip", data.prefix)
    assert choice(folder_store, data, min_new_episodes=0).mode == "skip", "nothing is new, however little is enough"


def test_a_policy_that_passed_and_was_not_released_is_finished_by_the_next_run(folder_store: Store) -> None:
    """Breaks if a server that was away during its check kept a good policy from people until new data came."""
    data = dataset(folder_store, 4)
    judged(folder_store, data, released=False)
    assert choice(folder_store, data).mode == "full", "again: what is made already is found"
    judged(folder_store, data)
    assert choice(folder_store, data).mode == "skip"


def test_new_episodes_adapt_the_released_policy(folder_store: Store) -> None:
    model = judged(folder_store, dataset(folder_store, 4))
    found = choice(folder_store, dataset(folder_store, 6, mean=0.5))
    assert (found.mode, found.new_episodes, found.drift) == ("adapt", 2, 0.5)
    assert found.base.startswith(f"models/{POLICY}/")
    from components.retrain.stages import base

    assert base(folder_store, DecideConfig(policy=POLICY), 0).model == model


@pytest.mark.parametrize(
    ("config", "mode"),
    [({"min_new_episodes": 3}, "skip"), ({"min_drift": 0.6}, "skip"), ({"min_drift": 0.5}, "adapt"),
     ({"track": "full"}, "full")],
)  # fmt: skip
def test_the_recipe_says_how_much_is_enough(folder_store: Store, config: dict[str, object], mode: str) -> None:
    judged(folder_store, dataset(folder_store, 4))
    assert choice(folder_store, dataset(folder_store, 6, mean=0.5), **config).mode == mode


def test_without_a_released_policy_there_is_nothing_to_adapt(folder_store: Store) -> None:
    judged(folder_store, dataset(folder_store, 4), passed=False)
    assert choice(folder_store, dataset(folder_store, 5)).mode == "full"


class Hook(http.server.BaseHTTPRequestHandler):
    """A chat service's end of a webhook; its path says how it answers."""

    got: list[dict[str, object]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).got.append(json.loads(body))
        self.send_response(302 if "moved" in self.path else 500 if "broken" in self.path else 200)
        self.send_header("Location", "/secret-elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


@pytest.fixture
def webhook() -> Iterator[str]:
    Hook.got = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_notice_is_kept_and_sent(
    folder_store: Store, webhook: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORRERY_PIPELINE", "retrain")
    monkeypatch.setenv("ORRERY_RUN", "one")
    monkeypatch.setenv("HOOK", f"{webhook}/secret")
    data = dataset(folder_store, 4)
    assert choice(folder_store, data).mode == "full"
    StatusWriter(folder_store, "ge_base.frames").write("failed", message="the disk is full; free it")
    assert notify(folder_store, NotifyConfig(policy=POLICY, webhook_env="HOOK"), 0, "FAILED") == ("sent",)
    kept = RetrainNotice.model_validate_json(folder_store.read(f"runs/retrain/one/{NOTICE}"))
    assert (kept.mode, kept.status, kept.delivery) == ("full", "FAILED", "sent")
    assert kept.problems == ("ge_base.frames: the disk is full; free it",)
    [sent] = Hook.got
    assert sent["text"] == kept.text
    assert "the disk is full" in kept.text
    assert "secret" not in capsys.readouterr().err


def test_what_kfp_says_of_a_run_that_it_has_not_finished_is_looked_up(
    folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its backend said RUNNING of a retrain that had ended: nobody would know a good night from a bad one."""
    monkeypatch.setenv("ORRERY_PIPELINE", "retrain")
    monkeypatch.setenv(RUN_OF, '{"config":{"cluster":{"team":""}},"policy":"toy","recipe":"tiny"}')

    def told(run: str, state: str, data: StageRecord | None, released: bool = False) -> RetrainNotice:
        monkeypatch.setenv("ORRERY_RUN", run)
        choice(folder_store, data)
        StatusWriter(folder_store, "release.candidate").write("succeeded" if released else "running")
        notify(folder_store, NotifyConfig(policy=POLICY), 0, state)
        return RetrainNotice.model_validate_json(folder_store.read(f"runs/retrain/{run}/{NOTICE}"))

    skipped, new = told("one", "RUNNING", None), dataset(folder_store, 4)
    assert (skipped.mode, skipped.status) == ("skip", "SUCCEEDED")
    assert [told("two", "RUNNING", new, done).status for done in (False, True)] == ["FAILED", "SUCCEEDED"]
    assert "release.candidate did not end" in told("three", "RUNNING", new).text
    ended = [(run.run, run.head.status) for run in runs.read_all(folder_store)]
    assert sorted(ended) == [("one", "succeeded"), ("three", "failed"), ("two", "succeeded")], "in the record, too"
    assert told("four", "COMPLETE", new).status == "SUCCEEDED"


@pytest.mark.parametrize(
    ("path", "why"), [("/broken-secret", "failed: HTTP 500"), ("/moved-secret", "failed: HTTP 302")]
)
def test_a_webhook_that_fails_is_told_and_fails_nothing(
    folder_store: Store, webhook: str, path: str, why: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """It is not followed elsewhere either: its body may be nobody else's to read."""
    monkeypatch.setenv("HOOK", webhook + path)
    assert notify(folder_store, NotifyConfig(policy=POLICY, webhook_env="HOOK"), 0, "SUCCEEDED") == (why,)
    assert len(Hook.got) == 1
    assert "secret" not in capsys.readouterr().err


def test_an_address_that_nobody_answers_is_no_failure() -> None:
    assert send("http://127.0.0.1:9/secret", "{}", 1.0).startswith("failed: ")
    assert send("file:///etc/passwd", "{}", 1.0) == "failed: the address is not http:// or https://"
