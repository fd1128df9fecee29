"""`tiny`: a network of 0.7 million weights that teaches itself arithmetic; two cores, minutes."""

from __future__ import annotations

from typing import Literal

from components.language.config import ProblemsConfig
from components.language.grpo_config import GrpoConfig
from components.language.problems import WRITE_A_PROBLEM
from components.r_zero.config import Instruction
from components.training.config import TrainConfig
from pipelines.recipes.dft.types import Judge, Problems
from pipelines.recipes.r_zero.types import PlayerTraining, RZeroRecipe

QUESTION_TOKENS, ANSWER_TOKENS = 160, 192


def tiny() -> RZeroRecipe:
    """Three short iterations from a base that is competent, but noisy. Small-scale in every way.

    Four in ten of the base's solutions hold a slip, each time another one. It learned to slip as often: half of its
    samples are wrong, and its majority is right. This is what labels by majority can sharpen. Of what a base can't do
    at all (for this one stories, three operations) its majority is wrong, and teaches it nothing.
    """
    return RZeroRecipe(
        name="tiny",
        problems=Problems(
            base=noisy((1,)),
            train=ProblemsConfig(levels=(1,), word_share=0.0),
            base_examples=48_000,
            train_examples=1,
            test_examples=200,
            harder_examples=50,
        ),
        base_train=train(steps=1500, batch_size=32, learning_rate=2e-3, warmup_steps=100, decay="cosine"),
        ask=Instruction(user=WRITE_A_PROBLEM),
        question_tokens=QUESTION_TOKENS,
        answer_tokens=ANSWER_TOKENS,
        challenger=PlayerTraining(
            grpo=GrpoConfig(prompts=16, group=4, updates=2, max_tokens=QUESTION_TOKENS),
            train=train(steps=10, batch_size=32, learning_rate=2e-4),
        ),
        responses=300,
        solver=PlayerTraining(
            grpo=GrpoConfig(prompts=32, group=5, updates=2, max_tokens=ANSWER_TOKENS),
            train=train(steps=24, batch_size=80, learning_rate=2e-4),
        ),
        then_train=train(steps=200, batch_size=16, learning_rate=3e-4, warmup_steps=20, decay="cosine"),
        judge=Judge(samples=8, pass_at=(1, 8)),
        estimates=_ESTIMATES,
    )


def noisy(levels: tuple[int, ...]) -> ProblemsConfig:
    """What a base learns from: expressions, four in ten solved with a slip, and a fifth to be written, not solved."""
    return ProblemsConfig(levels=levels, word_share=0.0, noise_kinds=("wrong-step",), noise_share=0.4, asked_share=0.2)


def train(
    steps: int,
    batch_size: int,
    learning_rate: float,
    warmup_steps: int = 0,
    decay: Literal["constant", "cosine"] = "constant",
) -> TrainConfig:
    """In fp32 on two ranks of one thread."""
    return TrainConfig(
        steps=steps, batch_size=batch_size, learning_rate=learning_rate, weight_decay=0.01, warmup_steps=warmup_steps,
        decay=decay, precision="fp32", zero_stage=1, processes=2, checkpoint_seconds=30.0, log_every=1,
    )  # fmt: skip


_ESTIMATES = {
    "dft.problems": 5.0,
    "dft.base": 240.0,
    "r_zero.challenger": 120.0,
    "r_zero.questions": 45.0,
    "r_zero.labels": 75.0,
    "r_zero.solver": 120.0,
    "dft.evaluate": 70.0,
    "dft.players": 120.0,
    "dft.table": 5.0,
    "r_zero.decide": 3.0,
    "r_zero.select": 5.0,
    "dft.further": 3.0,
    "release.language-gate": 5.0,
    "release.language-publish": 10.0,
}
"""Seconds on two cores, until a run has measured them here."""
