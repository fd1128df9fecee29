"""A recurring retrain through the real kfp.local, on real episodes; only its training is a toy.

If these fail, a schedule trains on the same data again, misses what is new, or fails without a word.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.agibot.config import IntakeConfig
from components.release import registry
from components.retrain.config import DecideConfig, DropsConfig, NotifyConfig
from components.store.errors import OrreryError
from components.store.open import open_store
from data_contracts.base import Contract
from data_contracts.retrain import RetrainNotice
from pipelines import runner, runs
from pipelines.recipes.base import Recipe


class Toys(Recipe):
    """What the toy retrain is configured with."""

    name: str = "toys"
    place: str
    fail: bool = False

    def stages(self) -> dict[str, Contract]:
        from toy_policy import TrainConfig

        return {
            "drops": DropsConfig(name="toys-drop", source=self.place),
            "intake": IntakeConfig(name="toys", strips=0),
            "decide": DecideConfig(policy="toys"),
            "notify": NotifyConfig(policy="toys"),
            "train": TrainConfig(policy="toys", fail=self.fail),
        }


@dataclass(frozen=True)
class Retrain:
    """What the runner needs of a catalogue entry."""

    name: str = "toy_retrain"
    inputs: dict[str, str] = field(default_factory=dict)

    def load(self) -> Any:
        import toy_retrain

        return toy_retrain.toy_retrain


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recorded drops of one episode each, `a` and `b`."""
    folder = tmp_path_factory.mktemp("recorded")
    for name, seed in (("a", 3), ("b", 90)):
        words = ["episodes", "record", str(folder / name), "--task", "press:1", "--episodes", "1", "--seed", str(seed)]
        subprocess.run([sys.executable, "-m", "pipelines.cli", *words], check=True, timeout=280, capture_output=True)
    return folder


def ran(place: Path, **fields: Any) -> tuple[RetrainNotice, list[tuple[str, str]]]:
    """One scheduled run: its notice, and the stages that published or found something."""
    store = open_store(str(place / "store"))
    recipe = Toys(place=str(place / "drops"), **fields)
    with pytest.raises(OrreryError, match="wind it up") if recipe.fail else contextlib.nullcontext():
        runner.run([Retrain()], recipe, store)  # type: ignore[list-item]
    run = runs.find(store)
    notice = RetrainNotice.model_validate_json(store.read(f"runs/toy_retrain/{run.run}/notice.json"))
    return notice, [(s.name, s.status) for _, s in run.stages]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_then_nothing_then_only_what_is_new(place: Path, drops: Path) -> None:
    """The first run trains in full, the second ends at once, a failed one is made good, the next drop is adapted to."""
    shutil.copytree(drops / "a", place / "drops" / "a")
    store = open_store(str(place / "store"))
    failed, _ = ran(place, fail=True)
    assert (failed.status, failed.mode) == ("FAILED", "full")
    assert failed.problems == ("ge_act.specialize: the toy broke; wind it up again",)

    first, stages = ran(place)
    assert (first.status, first.mode) == ("SUCCEEDED", "full")
    assert first.candidate == registry.current(store, "toys", "candidate")
    assert ("ge_act.specialize", "succeeded") in stages

    second, stages = ran(place)
    assert (second.status, second.mode, second.candidate) == ("SUCCEEDED", "skip", first.candidate)
    assert stages == [("retrain.decide", "succeeded")], "nothing is adopted, examined or trained"

    shutil.copytree(drops / "b", place / "drops" / "b")
    third, stages = ran(place)
    assert (third.mode, third.status) == ("adapt", "SUCCEEDED")
    assert third.candidate not in ("", first.candidate)
    assert ("agibot.join", "succeeded") in stages
    policy = registry.resolve(store, "toys")
    model = store.read(f"{policy.inputs['model'].prefix}/text.txt").decode()
    assert "video" in model, "the released policy's weights went in"
    head = json.loads(store.read("datasets/toys/head.json"))
    manifest = json.loads(store.read(f"{head['prefix']}/manifest.json"))
    assert len(manifest["episodes"]) == 2
