"""The report of a run, assembled from a store that holds what stages write."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from components.store.api import Store
from components.store.errors import OrreryError
from components.store.open import open_store
from components.store.stage import Workspace, run_stage
from components.telemetry.report import render
from data_contracts.action import Normalisation
from data_contracts.arms import ArmOnSet, ArmRow, ArmTable, Difference
from data_contracts.base import Contract
from data_contracts.dataset import DatasetManifest, EpisodeEntry, SpaceStatistics
from data_contracts.evaluation import Arm, EpisodeOutcome, EvaluationResult
from data_contracts.lineage import Kind, RunRecord, StageRecord
from data_contracts.reasons import Finding
from data_contracts.release import Decision, Rule
from data_contracts.report import EpisodeVerdict, Summary, ValidationReport
from data_contracts.rollouts import Example, RolloutSummary
from data_contracts.scores import ClassChange, Mean, Scores, SetScores, Share, TokenAnalysis
from pipelines import runs
from pipelines.report import assemble, publish
from tests.engines.chromium import Browser

HOSTILE = "press the <script>alert('red')</script> button $x_{$"
RUN = "20260101-000000-tiny-abcd"


class Nothing(Contract):
    """A configuration without fields."""


def picture(width: int = 64, height: int = 16) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(buffer, "PNG")
    return buffer.getvalue()


class Loop:
    """A run whose stages write the agreed objects, without the work."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("ORRERY_RUN", RUN)
        self.store: Store = open_store(str(folder / "store"))
        self.order: list[str] = []
        self._monkeypatch = monkeypatch

    def stage(
        self, name: str, kind: Kind, objects: Mapping[str, bytes], pipeline: str = "ge_act", **inputs: StageRecord
    ) -> StageRecord:
        def build(ws: Workspace) -> dict[str, float]:
            for path, data in objects.items():
                (ws.out / path).parent.mkdir(parents=True, exist_ok=True)
                (ws.out / path).write_bytes(data)
            return {"value": 1.5}

        self._monkeypatch.setenv("ORRERY_PIPELINE", pipeline)
        self.order.append(name)
        return run_stage(
            store=self.store, stage=name, kind=kind, name=name.replace("_", "-"), inputs=inputs, config=Nothing(),
            seed=0, sources=("data_contracts/base.py",), build=build,
        )  # fmt: skip

    def finish(self, pipeline: str = "ge_act", status: str = "succeeded") -> runs.Run:
        record = RunRecord(
            run=RUN, pipeline=pipeline, recipe="tiny", config={}, status=status, started_at=runs.now(), seconds=61.0,
            stages=tuple(self.order),
        )  # fmt: skip
        runs.write(self.store, record)
        return runs.find(self.store, RUN)


@pytest.fixture
def loop(place: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    return Loop(place, monkeypatch)


def dataset() -> dict[str, bytes]:
    ones = Normalisation(mean=(0.0,), std=(1.0,))
    summary = Summary(accepted=1, repaired=0, quarantined=1, frames=90, seconds=3.0)
    episode = EpisodeEntry(index=0, task_id=1, episode_id=7, instruction=HOSTILE, frames=90, source_sha256="0" * 64)
    manifest = DatasetManifest(
        name="tiny", embodiment="agibot_g1", fps=30, cameras=("head_color",), episodes=(episode,),
        statistics=(SpaceStatistics(space="joint", form="absolute", normalisation=ones, q01=(0.0,), q99=(1.0,)),),
        state_statistics={"joint": ones}, summary=summary, source={},
    )  # fmt: skip
    bad = Finding(code="video.undecodable", severity="error", message=f"no frame of {HOSTILE}", where="head_color.mp4")
    report = ValidationReport(
        source="raw/x", summary=summary,
        episodes=(EpisodeVerdict(task_id=1, episode_id=8, verdict="quarantined", findings=(bad,)),),
    )  # fmt: skip
    return {
        "manifest.json": manifest.model_dump_json().encode(),
        "report.json": report.model_dump_json().encode(),
        "strips/episode_7.png": picture(),
    }


def losses(*values: float) -> bytes:
    return "".join(json.dumps({"step": i, "seconds": i * 1.0, "loss": v}) + "\n" for i, v in enumerate(values)).encode()


def evaluation(arm: Arm, wins: int) -> dict[str, bytes]:
    episodes = tuple(
        EpisodeOutcome(
            task="press", level=1, seed=i, success=i < wins, steps=60, video=f"episodes/{i}.mp4" if i < 3 else ""
        )
        for i in range(10)
    )
    result = EvaluationResult(arm=arm, embodiment="agibot_g1", episodes=episodes)
    return {"result.json": result.model_dump_json().encode(), **{f"episodes/{i}.mp4": b"film%d" % i for i in range(3)}}


def test_everything_that_exists_is_shown_and_escaped(loop: Loop) -> None:
    """A section that is missing would hide what the run did; one that is not escaped would run what a robot wrote."""
    data = loop.stage("agibot.intake", "datasets", dataset())
    trained = {"losses.jsonl": losses(3, 1, 0.5) + b"not json\n", "preview.png": picture(), "model.safetensors": b"w"}
    model = loop.stage("ge_base.stage1", "models", trained, dataset=data)
    loop.stage("ge_act.evaluate-expert", "evaluations", evaluation("expert", 10), model=model)
    loop.stage("ge_act.evaluate-policy", "evaluations", evaluation("policy", 6), model=model)
    rule = Rule(name="success", value=0.3, threshold=0.5, passed=False, sentence=f"success {HOSTILE} is too low")
    decision = Decision(policy="ge-act", model=model.as_input(), passed=False, rules=(rule,))
    loop.stage("release.gate", "evaluations", {"decision.json": decision.model_dump_json().encode()}, model=model)

    report = assemble(loop.store, loop.finish())
    assert [s.title for s in report.sections] == [
        "Stages", "Dataset agibot.intake", "GE-Base: the world model", "Closed loop", "Gate", "Cost",
        "Lineage",
    ]  # fmt: skip
    text = render(report)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    for shown in ("video.undecodable", "60 %", "Wilson", "refused", model.fingerprint, data.prefix, "Scripted expert"):
        assert shown in text, shown
    assert text.count("data:image/png;base64") >= 3
    assert text.count("<video") == 6
    assert dict(report.facts)["Policy's success"].startswith("60 %")
    assert "success &lt;script" not in text.split("Gate</h2>")[0].split("Stages</h2>")[0]


def test_a_run_that_failed_says_why_first(loop: Loop) -> None:
    """Who opens the report of a failed run wants the reason, not a graph."""
    loop.stage("agibot.intake", "datasets", dataset(), pipeline="episode_intake")

    def build(ws: Workspace) -> dict[str, float]:
        raise OrreryError("no episode is usable; see the findings")

    with pytest.raises(OrreryError):
        run_stage(store=loop.store, stage="ge_base.frames", kind="datasets", name="frames", inputs={}, config=Nothing(),
                  seed=0, sources=("data_contracts/base.py",), build=build)  # fmt: skip
    report = assemble(loop.store, loop.finish("episode_intake", "failed"))
    assert report.tone == "bad"
    first = report.sections[0].blocks[0]
    assert "no episode is usable" in render(report).split("<table")[0]
    assert first.kind == "text"


def test_a_run_without_stages_has_a_report(loop: Loop) -> None:
    """An empty drop fails before anything exists."""
    assert "No stage has started" in render(assemble(loop.store, loop.finish(status="failed")))


def test_objects_that_lie_are_left_out(loop: Loop) -> None:
    """A truncated result must not cost the rest of the report."""
    loop.stage("agibot.intake", "datasets", {"manifest.json": b"{"})
    loop.stage("ge_act.evaluate-policy", "evaluations", {"result.json": b"[]"})
    loop.stage("ge_base.stage1", "models", {"losses.jsonl": b'{"step": 1, "loss": NaN}\n[1]\n\xff\n'})
    titles = [s.title for s in assemble(loop.store, loop.finish()).sections]
    assert titles == ["Stages", "GE-Base: the world model", "Cost", "Lineage"]


def test_large_films_are_named_not_inlined(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of a gigabyte opens on no phone."""
    from pipelines.report import reading

    monkeypatch.setattr(reading, "LARGEST_MEDIA", 4)
    record = loop.stage("ge_base.stage1", "models", {"losses.jsonl": losses(1, 0.5), "preview.mp4": b"12345"})
    text = render(assemble(loop.store, loop.finish()))
    assert "<video" not in text
    assert f"{record.prefix}/preview.mp4" in text


def test_it_is_published_here_and_in_the_store(loop: Loop) -> None:
    loop.stage("agibot.intake", "datasets", dataset())
    path = publish(loop.store, loop.finish())
    assert path.read_bytes() == loop.store.read(f"runs/ge_act/{RUN}/report.html")


def test_a_browser_shows_the_published_page(loop: Loop, tmp_path: Path) -> None:
    """Every section that was assembled is seen; nothing is run, and nobody is asked for anything."""
    data = loop.stage("agibot.intake", "datasets", dataset())
    trained = {"losses.jsonl": losses(3, 1, 0.5), "preview.png": picture()}
    loop.stage("ge_base.stage1", "models", trained, dataset=data)
    run = loop.finish()
    with Browser(tmp_path / "profile") as browser:
        seen = browser.open(publish(loop.store, run))
        titles = browser.ask(
            "[...document.querySelectorAll('section')].filter(s => s.checkVisibility()).map(s => s.id)"
        )
        shown = browser.ask("document.body.innerText")
    assert titles == [section.anchor for section in assemble(loop.store, run).sections]
    assert HOSTILE in shown
    assert (seen.console, seen.hosts) == ([], set())


def scores(value: float) -> bytes:
    share = Share(value=value, low=max(0.0, value - 0.1), high=min(1.0, value + 0.1))
    judged = SetScores(
        problems=100,
        samples=8,
        greedy=share,
        mean=share,
        pass_at={1: value, 8: 0.9},
        unboxed=0.07,
        cut=0.0,
        tokens=31.0,
    )
    return Scores(model="0" * 16, sets={"test": judged}, files={"test": "0" * 64}).model_dump_json().encode()


def kind(number: int, change: float) -> ClassChange:
    return ClassChange(
        tokens=number, change=Mean(value=change, low=change - 0.1, high=change + 0.1),
        fell=Mean(value=0.25, low=0.2, high=0.3), low_before=0.0, low_after=Mean(value=0.1, low=0.05, high=0.15),
        of_low=0.5,
    )  # fmt: skip


def tokens(token: str) -> bytes:
    return TokenAnalysis(
        model="0" * 16, tokens=30, bins=(0.0, 0.5, 1.0), before=(20, 10), after=(5, 25), bimodality_before=0.41,
        bimodality_after=0.83, low_after=0.1, high_after=0.8, entropy_before=1.0, entropy_after=0.5, distance=0.02,
        falling=((token, -1.25, 40),), classes={"function words": kind(12, -0.5), "punctuation": kind(18, 0.25)},
    ).model_dump_json().encode()  # fmt: skip


def test_the_arms_of_a_fine_tuning_stand_side_by_side(loop: Loop) -> None:
    """Breaks if an arm were lost, or one arm's numbers stood beside another's name."""
    for arm, value in (("base", 0.25), ("sft", 0.5), ("dft", 0.625)):
        loop.stage(f"dft.evaluate-{arm}", "evaluations", {"scores.json": scores(value)}, "dft")
    loop.stage("dft.analyse-dft", "evaluations", {"tokens.json": tokens(HOSTILE)}, "dft")
    html = render(assemble(loop.store, loop.finish("dft")))
    table = html[html.index("avg@n</th>") :]
    rows = [table.index(name) for name in (">Base<", ">SFT<", ">DFT<")]
    assert rows == sorted(rows)
    for start, value in zip(rows, ("25.0 % (15–35)", "50.0 % (40–60)", "62.5 % (52–72)"), strict=True):
        assert value in table[start : start + 400]
    assert "0.830" in html
    kinds = html[html.index(">Kind of token<") :]
    shares, changes = kinds.index("40.0 %"), kinds.index("-0.50 (-0.60\u2060…\u2060-0.40)")
    assert kinds.index(">function words<") < kinds.index(">punctuation<") < shares < kinds.index("60.0 %") < changes
    assert changes < kinds.index("+0.25 (+0.15\u2060…\u2060+0.35)"), "each under its kind"
    assert f"100 problems, SHA-256 {'0' * 64}" in html, "what was judged by is named by its hash"
    assert "<script>alert" not in html
    assert "alert(" in html, "a token from a model is shown as text"


def on_set(value: float, against_sft: Difference | None) -> ArmRow:
    share = Share(value=value, low=value - 0.1, high=value + 0.1)
    scores = ArmOnSet(
        problems=200, mean=share, by_seed=(value - 0.01, value + 0.01), over_seeds=share, greedy=value,
        kept=Share(value=0.75, low=0.625, high=0.875) if against_sft else None,
        against={"sft": against_sft} if against_sft else {},
    )  # fmt: skip
    return ArmRow(sets={"test": scores}, unboxed=0.01, tokens=20, bimodality=0.95, entropy=None, distance=0.01)


def test_the_papers_table_says_what_is_no_finding(loop: Loop) -> None:
    """Breaks if a difference lost its sign or its interval, or an arm its row: readers would take noise for a gain."""
    worse = Difference(value=-0.025, low=-0.061, high=0.011)
    table = ArmTable(
        seeds=(0, 1), files={"test": "f" * 64}, bimodality_before=0.91, entropy_before=0.3,
        rows={"sft": on_set(0.5, None), "own_dft": on_set(0.475, worse)},
    )  # fmt: skip
    loop.stage("dft.table", "evaluations", {"table.json": table.model_dump_json().encode()}, "dft_paper")
    html = render(assemble(loop.store, loop.finish("dft_paper")))
    row = html[html.index("DFT, own answers</td>") :][:600]
    assert "47.5 (38\u2060–\u206057)" in row
    assert "46.5, 48.5" in row
    assert "-2.5 (-6.1\u2060…\u2060+1.1)" in row
    assert "75 (62\u2060–\u206088)" in row, "what it kept of what the base could do"
    assert f"test: 200 problems, SHA-256 {'f' * 64}" in html
    assert "bimodality 0.910, entropy 0.300" in html


def test_what_online_arms_earned_is_drawn_seed_by_seed(loop: Loop) -> None:
    """Breaks if a run said that GRPO ends where it does, but not whether it rose, or how far it went from its start."""
    for seed in (0, 1):
        lines = [
            RolloutSummary(rollout=i, seconds=1, reward=0.25 * i, informative=0.5, tokens=9, cut=0,
                           examples=(Example(text=HOSTILE, note=f"reward of seed {seed}"),))
            for i in range(3)
        ]  # fmt: skip
        losses = [{"step": 2 * i, "loss": 0.1, "kl": 0.01 * i, "reward": 0.5} for i in (1, 2, 3)]
        loop.stage(
            f"dft.grpo-{seed}", "models",
            {"rollouts.jsonl": "\n".join(line.model_dump_json() for line in lines).encode(),
             "losses.jsonl": "\n".join(map(json.dumps, losses)).encode()},
            "dft_paper",
        )  # fmt: skip
    html = render(assemble(loop.store, loop.finish("dft_paper")))
    section = html[html.rindex("Online: what the arms earned") :]
    chart = section[section.index("<svg") : section.index("</svg>")]
    for title in ("Reward", "Groups that teach", "Tokens", "KL from the start", "rollout"):
        assert f">{title}<" in chart
    assert "What GRPO wrote last" in section
    assert "reward of seed 1" in section
    assert "<script>alert" not in html
    assert "2 trainings of 6 steps" in html, "one chart for trainings that repeat each other"
