"""Numbers that contradict each other fail before anything starts, and the message names the field and the mend."""

from __future__ import annotations

from typing import Any

import pytest

from components.language.grpo_config import GrpoConfig
from components.r_zero.config import SolverStageConfig
from components.store.errors import ConfigurationError
from components.training.config import TrainConfig
from pipelines.recipes import recipe

TRAIN = TrainConfig(steps=8, batch_size=8, warmup_steps=0, processes=2, precision="fp32")
GRPO = GrpoConfig(prompts=4, group=4, updates=2)


@pytest.mark.parametrize(
    ("grpo", "train", "message"),
    [
        ({}, {"batch_size": 16}, r"gives 16 sequences, but 2 updates of train\.batch_size 16 take 32.*batch_size=8"),
        ({"prompts": 5}, {}, r"5 prompts x 4 gives 20 sequences"),
        ({}, {"steps": 7}, r"train\.steps 7 ends within a rollout of 2 updates; use a multiple"),
        ({}, {"zero_stage": 3}, r"train\.zero_stage 3 leaves no process whole weights.*set it to 2"),
    ],
)
def test_rollouts_and_training_fit(grpo: dict[str, Any], train: dict[str, Any], message: str) -> None:
    """A step that took sequences of two rollouts would train on weights that sampled only one of them."""
    parts = {"grpo": {**dict(GRPO), **grpo}, "train": {**dict(TRAIN), **train}}
    assert SolverStageConfig(name="solver", grpo=GRPO, train=TRAIN)
    with pytest.raises(ValueError, match=message):
        SolverStageConfig.model_validate({"name": "solver", **parts})


def test_a_player_is_sampled_as_it_was_trained() -> None:
    with pytest.raises(
        ConfigurationError, match=r"solver\.grpo\.max_tokens 192 is not answer_tokens 64.*make them equal"
    ):
        recipe("r_zero", "tiny", ["answer_tokens=64"])
