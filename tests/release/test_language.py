"""If these fail, a language model is published that got worse, or a good one is kept back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.language import model as language_model
from components.language import tokenizer
from components.language.config import ModelConfig, ProblemsConfig, TokenizerConfig
from components.release import registry, stages
from components.release.config import LanguageGateConfig, PublishConfig
from components.release.errors import GateRefused
from components.release.language_gate import difference
from components.store.api import Store
from components.store.errors import ConfigurationError, OrreryError
from components.store.stage import Workspace, run_stage
from data_contracts.base import Contract
from data_contracts.bundle import LanguageBundle
from data_contracts.interval import score_interval
from data_contracts.lineage import Kind, Metric, StageRecord
from data_contracts.release import Decision
from data_contracts.scores import Scores, SetScores, Share

SAMPLES = 8


class Nothing(Contract):
    """A configuration without fields."""


def of_set(right: list[int]) -> SetScores:
    """A set of problems, each solved by so many of its samples."""
    shares = np.array(right) / SAMPLES
    low, high = score_interval(float(shares.mean()), float(shares.var()), len(right))
    share = Share(value=float(shares.mean()), low=low, high=high)
    return SetScores(
        problems=len(right), samples=SAMPLES, greedy=share, mean=share, pass_at={1: share.value}, unboxed=0, cut=0,
        tokens=20, right=tuple(right),
    )  # fmt: skip


class Upstream:
    """Models and their scores, written as the stages before the gate write them."""

    def __init__(self, store: Store, folder: Path):
        self.store, self._folder = store, folder

    def model(self, seed: int, drop: str = "") -> StageRecord:
        def build(ws: Workspace) -> dict[str, Metric]:
            fast = tokenizer.create(TokenizerConfig(vocabulary=160, examples=100), ProblemsConfig(), 0, ws.scratch)
            size = ModelConfig(layers=1, width=32, heads=2, key_value_heads=1, feed_forward=64)
            language_model.create(size, fast, seed, ws.out)
            (ws.out / "losses.jsonl").write_text("{}\n")
            if drop:
                (ws.out / drop).unlink()
            return {}

        return self._version("dft.dft", "models", f"arm{drop.replace('_', '-')}", {}, seed, build)

    def scores(self, model: StageRecord, right: list[int], problems: str = "0" * 64) -> StageRecord:
        sets = {name: of_set(right) for name in ("test", "harder")}
        scores = Scores(model=model.version, sets=sets, files=dict.fromkeys(sets, problems))

        def build(ws: Workspace) -> dict[str, Metric]:
            (ws.out / "scores.json").write_text(scores.model_dump_json())
            return {}

        name = f"scores-{sum(right)}-{problems[0]}"
        return self._version("dft.evaluate-dft", "evaluations", name, {"model": model}, 0, build)

    def _version(
        self, stage: str, kind: Kind, name: str, inputs: dict[str, StageRecord], seed: int, build: Any
    ) -> StageRecord:
        return run_stage(
            store=self.store, stage=stage, kind=kind, name=name, inputs=inputs, config=Nothing(), seed=seed,
            sources=("data_contracts/base.py",), build=build,
        )  # fmt: skip

    def gate(self, model: StageRecord, evaluation: StageRecord, base: StageRecord) -> StageRecord:
        config = LanguageGateConfig(policy="solver")
        return stages.language_gate(self.store, config, 0, model=model, evaluation=evaluation, base=base)

    def publish(self, model: StageRecord, evaluation: StageRecord, gate: StageRecord) -> StageRecord:
        config = PublishConfig(policy="solver")
        return stages.language_publish(self.store, config, 0, model=model, evaluation=evaluation, gate=gate)

    def released(self, seed: int, right: list[int]) -> StageRecord:
        model = self.model(seed)
        evaluation = self.scores(model, right)
        return self.publish(model, evaluation, self.gate(model, evaluation, self.base(WEAK)))

    def base(self, right: list[int], problems: str = "0" * 64) -> StageRecord:
        return self.scores(self.model(99), right, problems)

    def decision(self, gate: StageRecord) -> Decision:
        return Decision.model_validate_json(self.store.read(f"{gate.prefix}/decision.json"))


WEAK, FAIR, STRONG = [2] * 60, [3, 4] * 30, [6] * 60


@pytest.fixture
def upstream(folder_store: Store, tmp_path: Path) -> Upstream:
    return Upstream(folder_store, tmp_path)


def test_a_better_model_becomes_the_candidate_with_all_that_runs_it(upstream: Upstream, tmp_path: Path) -> None:
    record = upstream.released(0, STRONG)
    store = upstream.store
    assert registry.resolve(store, "solver").version == record.version
    assert [(line.name, line.channels) for line in registry.list_models(store)] == [("solver", ("candidate",))]
    bundle = LanguageBundle.model_validate_json(store.read(f"{record.prefix}/bundle.json"))
    judged = upstream.model(0)
    assert {f.path: f.sha256 for f in bundle.files} == {
        o.path: o.sha256 for o in judged.objects if o.path != "losses.jsonl"
    }
    for ref in record.objects:
        (tmp_path / ref.path).write_bytes(store.read(f"{record.prefix}/{ref.path}", ref.sha256))
    network, _ = language_model.load(tmp_path)
    assert type(network).__name__ == bundle.architecture
    card = (tmp_path / "card.md").read_text()
    assert all(text in card for text in ("| test | 60 | 8 | 0.75 |", "passed, test/not-worse-than-base", "vllm serve"))


def test_a_refusal_says_why_and_publishes_nothing(upstream: Upstream) -> None:
    model = upstream.model(0)
    evaluation = upstream.scores(model, WEAK)
    gate = upstream.gate(model, evaluation, upstream.base(STRONG))
    assert gate.metrics["passed"] is False
    broken = {f"{name}/{rule}-base" for name in ("test", "harder") for rule in ("not-worse-than", "drop-from")}
    assert {rule.name for rule in upstream.decision(gate).failures} == broken
    report = upstream.store.read(f"{gate.prefix}/report.md").decode()
    assert "paired difference of -0.500 (" in report.split("Refused because:")[1]
    with pytest.raises(GateRefused, match="proof that the candidate is worse"):
        upstream.publish(model, evaluation, gate)
    assert not list(upstream.store.list("models/solver/"))
    assert registry.read_pointer(upstream.store, "solver", "candidate") is None


def test_production_is_measured_up_to(upstream: Upstream) -> None:
    """Breaks if a model that beats its own base replaced a better one."""
    best = upstream.released(0, STRONG)
    registry.promote(upstream.store, "solver", best.version, "production")
    model = upstream.model(1)
    gate = upstream.gate(model, upstream.scores(model, FAIR), upstream.base(WEAK))
    assert {rule.name.split("/")[1] for rule in upstream.decision(gate).failures} == {
        "not-worse-than-production", "drop-from-production",
    }  # fmt: skip
    gate = upstream.gate(model, upstream.scores(model, [*STRONG[:-1], 5]), upstream.base(WEAK))
    assert upstream.decision(gate).passed


def test_production_that_was_judged_on_other_problems_proves_nothing(upstream: Upstream) -> None:
    registry.promote(upstream.store, "solver", upstream.released(0, WEAK).version, "production")
    model = upstream.model(1)
    gate = upstream.gate(model, upstream.scores(model, STRONG, "1" * 64), upstream.base(WEAK, "1" * 64))
    assert "judged on other problems" in upstream.decision(gate).failures[0].sentence


def test_scores_that_do_not_belong_are_refused(upstream: Upstream) -> None:
    model, other = upstream.model(0), upstream.model(1)
    with pytest.raises(ConfigurationError, match=r"did not judge models/arm/"):
        upstream.gate(model, upstream.scores(other, STRONG), upstream.base(WEAK))
    with pytest.raises(ConfigurationError, match="on different problems 'test'"):
        upstream.gate(model, upstream.scores(model, STRONG), upstream.base(WEAK, "1" * 64))
    with pytest.raises(ConfigurationError, match=r"holds no usable scores.json"):
        upstream.gate(model, upstream.scores(model, STRONG), model)


@pytest.mark.parametrize("part", ["tokenizer.json", "config.json"])
def test_a_model_that_is_not_whole_is_not_published(upstream: Upstream, part: str) -> None:
    model = upstream.model(0, drop=part)
    evaluation = upstream.scores(model, STRONG)
    with pytest.raises(OrreryError, match=part.split(".")[0]):
        upstream.publish(model, evaluation, upstream.gate(model, evaluation, upstream.base(WEAK)))
    assert not list(upstream.store.list("models/solver/"))


counts = st.lists(st.tuples(st.integers(0, SAMPLES), st.integers(0, SAMPLES)), min_size=1, max_size=40)


@given(counts)
def test_the_interval_of_a_difference_holds_it_and_turns_with_it(pairs: list[tuple[int, int]]) -> None:
    """Breaks if the order of the models mattered to more than the sign."""
    ours, theirs = (of_set(list(column)) for column in zip(*pairs, strict=True))
    there, back = difference(ours, theirs), difference(theirs, ours)
    assert there.low - 1e-4 <= there.mean <= there.high + 1e-4
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low), abs=4e-4)


def test_pairing_sees_what_the_two_intervals_hide() -> None:
    """Half of the problems are easy, half are hard; a model that loses one sample in eight everywhere is worse."""
    better, worse = of_set([8] * 30 + [1] * 30), of_set([7] * 30 + [0] * 30)
    assert worse.mean.high > better.mean.low
    assert difference(worse, better).high < 0
