"""R-Zero's iterations through the real kfp.local, with toys for the players: what is not played is not started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components.r_zero.config import SelectStageConfig, StopConfig
from components.store.open import open_store
from components.store.records import load_record
from components.store.status import run_key
from data_contracts.base import Contract
from data_contracts.r_zero import Selection
from pipelines import runner, runs
from pipelines.recipes.base import Recipe

HERE = Path(__file__).parent


class Toys(Recipe):
    """`iterations` of what scores so much after the base."""

    name: str = "toys"
    scores: tuple[float, ...]

    def stages(self) -> dict[str, Contract]:
        from toy_solver import ToyConfig

        return {
            "toy": ToyConfig(scores=self.scores),
            "select": SelectStageConfig(name="toy-best", iterations=4, stop=StopConfig(drop=0.02)),
        }


@dataclass(frozen=True)
class Toy:
    """What the runner needs of a catalogue entry."""

    name: str = "toy_r_zero"
    inputs: dict[str, str] = field(default_factory=dict)

    def load(self) -> Any:
        import toy_play

        return toy_play.toy_r_zero


@pytest.mark.timeout(600)
def test_after_a_fall_nothing_more_is_played_and_the_best_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a later iteration ran all the same, if nothing were published, or the last instead of the best."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "CACHE"):
        monkeypatch.setenv(f"ORRERY_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("PYTHONPATH", str(HERE))  # KFP's tasks import the toy stages
    monkeypatch.syspath_prepend(str(HERE))
    store = open_store(str(tmp_path / "store"))

    runner.run([Toy()], Toys(scores=(0.5, 0.6, 0.55, 0.9, 0.9)), store)  # type: ignore[list-item]

    ended = [(stage.name, stage.status) for _, stage in runs.find(store).stages]
    names = [f"toy.{part}-{number}" for number in range(3) for part in ("solver", "judge")]
    assert sorted(ended) == sorted((name, "succeeded") for name in (*names, "r_zero.select", "toy.publish"))
    chosen = load_record(store, next(s.prefix for _, s in runs.find(store).stages if s.name == "r_zero.select"))
    selection = Selection.model_validate_json(store.read(chosen.key_of(chosen.object("selection.json"))))
    assert [i.name for i in selection.iterations] == ["first", "second"]
    assert selection.best == 0
    assert "5.0 points below iteration 1" in selection.stopped
    report = store.read(run_key("toy_r_zero", runs.find(store).run, "report.html")).decode()
    assert "Stopped after iteration 2 of 4" in report
    assert selection.stopped in report
    assert store.read(f"{chosen.prefix}/weights.txt") == b"1", "the first iteration's model, not the last one's"
