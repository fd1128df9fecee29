"""The paper's settings are the paper's, and what a recipe lacks is told before anything starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.store.errors import ConfigurationError
from components.store.open import open_store
from pipelines import runner
from pipelines.catalog import R_ZERO_ADOPTED, find
from pipelines.kfp_local import tasks
from pipelines.recipes import RECIPES, recipe

ADOPTED = tuple(RECIPES["r_zero_adopted"])


@pytest.mark.parametrize("name", ADOPTED)
def test_the_papers_numbers(name: str) -> None:
    """Breaks if a default changed under the recipes: they can't be run here to notice."""
    stages = recipe("r_zero_adopted", name).stages()
    made = {stage: json.loads(config.model_dump_json()) for stage, config in stages.items()}
    for player, group, updates, batch, rollouts in (("challenger", 4, 32, 64, 5), ("solver", 5, 4, 640, 15)):
        grpo, train = made[player]["grpo"], made[player]["train"]
        assert grpo == {
            "prompts": 512, "group": group, "baseline": "group", "updates": updates, "max_tokens": 4096, "top_p": 0.99,
            "clip_low": 0.2, "clip_high": 0.3, "dual_clip": 3.0, "kl_weight": 0.01,
        }  # fmt: skip
        assert (train["steps"], train["batch_size"], train["learning_rate"]) == (rollouts * updates, batch, 1e-6)
        assert (train["weight_decay"], train["warmup_steps"], train["decay"], train["clip"]) == (0.01, 0, "constant", 1)
    assert (made["questions"]["responses"], made["questions"]["top_p"]) == (8000, 0.95)
    assert (made["labels"]["label"], made["labels"]["least"]) == ({"samples": 10, "half_width": 0.25}, 512)
    assert made["challenger"]["samples"] == 10
    assert made["challenger"]["reward"] == {"form": "paper", "repetition_weight": 1.0, "distance_threshold": 0.5}
    assert (made["select"]["iterations"], made["evaluate"]["samples"]) == (3, 32)
    told = {made[stage]["solver_system"] for stage in ("challenger", "labels", "solver")} | {made["evaluate"]["system"]}
    assert len(told) == 1, "the solver is asked alike wherever it is asked"
    assert made["challenger"]["ask"] == made["questions"]["ask"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["then=dft"], r"then=dft has nothing to learn from; say --set data\.uri=URI"),
        (["sets.gsm8k=here"], r"judged_on is 'math_500'.*say --set sets\.math_500=URI, or judged_on=NAME"),
        (["question_tokens=64"], r"challenger\.grpo\.max_tokens 4096 is not question_tokens 64"),
        (["iterations=6"], "iterations"),
        (["stop.patience=0"], r"stop\.patience"),
        (["stop.drop=2"], r"stop\.drop"),
    ],
)
def test_what_contradicts_itself_is_refused_with_the_mend(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        recipe("r_zero_adopted", ADOPTED[0], settings)


def test_sets_and_data_are_the_users() -> None:
    settings = ["model.uri=m", "sets.gsm8k=g", "judged_on=gsm8k", "then=sft", "data.uri=d"]
    stages = recipe("r_zero_adopted", ADOPTED[0], settings).stages()
    chats = json.loads(stages["adopt_chats"].model_dump_json())
    assert (list(chats["sets"]), chats["train"]["uri"]) == (["gsm8k"], "d")
    assert json.loads(stages["gate"].model_dump_json())["sets"] == ["gsm8k"]
    assert json.loads(stages["further"].model_dump_json())["tune"]["loss"]["variant"] == "sft"


def test_then_needs_chats_to_learn_from() -> None:
    with pytest.raises(ConfigurationError, match=r"then=dft has 1 chats.*set problems\.train_examples"):
        recipe("r_zero", "tiny", ["then=dft"])
    assert recipe("r_zero", "tiny", ["then=dft", "problems.train_examples=4000"])


def test_a_recipe_for_gpus_does_not_start_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if it loaded 4 billion weights on a laptop and died of it hours later."""
    monkeypatch.setattr(runner, "DEVICES", (str(tmp_path / "none*"),))
    built = recipe("r_zero_adopted", "qwen3_4b", ["model.uri=m", "sets.math_500=s"])
    with pytest.raises(
        ConfigurationError, match=r"made for nvidia\.com/gpu, and this machine has none; submit it with"
    ):
        runner.run([R_ZERO_ADOPTED], built, open_store(str(tmp_path / "store")))
    assert not (tmp_path / "store").exists() or not any((tmp_path / "store").iterdir()), "nothing was begun"


def test_what_a_run_is_expected_to_reach() -> None:
    """Breaks if the time left counted iterations that are not asked for, or the end after each of those that are."""
    two = recipe("r_zero", "tiny", ["iterations=2"])
    titles = tasks(find("r_zero").load()).values()
    numbered = {title for title in titles if title[-1].isdigit() and two.plans(title)}
    assert {title for title in numbered if title.startswith("Challenger")} == {"Challenger 1", "Challenger 2"}
    assert {title for title in numbered if title.startswith(("Gate", "Best"))} == {"Gate, after 2", "Best of 2"}
    one = recipe("r_zero", "bench", ["iterations=1"])
    assert all(map(one.plans, tasks(find("r_zero_paper").load()).values())), "it plays three, whatever is asked"
