"""What the mathematics of R-Zero is asked to do; the defaults are the paper's. Cheap to import: recipes read it.

Source: R-Zero (arXiv 2508.05004); where its public code differs, the field says so.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

import regex
from pydantic import Field, field_validator, model_validator

from components.language.engine_config import EngineConfig
from components.language.grpo_config import GrpoConfig, check_rollouts
from components.training.config import TrainConfig
from data_contracts.base import Contract

MOST_ITERATIONS = 5
"""That the pipeline holds; the paper plays 3, its public code 5."""


class RewardConfig(Contract):
    """The challenger's reward: uncertainty less repetition."""

    form: Literal["paper", "public"] = Field(
        default="paper", description="public: as the public code has it, neither clamped nor 0 for a wrong format"
    )
    repetition_weight: float = Field(default=1.0, ge=0, description="lambda")
    distance_threshold: float = Field(
        default=0.5, gt=0, le=1, description="mean distance (1 - BLEU) below which clusters of questions are joined"
    )


class LabelConfig(Contract):
    """Pseudo-labels, and which questions are worth training on."""

    samples: int = Field(default=10, ge=2, le=1024, description="m: answers a question (public code: 9)")
    half_width: float = Field(
        default=0.25, ge=0, le=0.5, description="kept where |p - 1/2| is at most this, p the majority's share of m"
    )

    @model_validator(mode="after")
    def _keeps_something(self) -> LabelConfig:
        low, high = self.kept_votes
        if low > high:
            raise ValueError(
                f"half_width {self.half_width} keeps no number of votes out of {self.samples} samples; "
                "raise label.half_width or label.samples"
            )
        return self

    @property
    def kept_votes(self) -> tuple[int, int]:
        """The fewest and the most votes of a majority that is kept, both inclusive: 3 and 7 of 10.

        Exact: the width is the decimal number that was written, not the nearest binary one.
        """
        width = Fraction(str(self.half_width)) * self.samples
        middle = Fraction(self.samples, 2)
        return math.ceil(middle - width), math.floor(middle + width)


class Instruction(Contract):
    """What a player is told; either part may be empty."""

    system: str = ""
    user: str = ""


class QuestionConfig(Contract):
    """What a question must be to be asked."""

    min_characters: int = Field(default=5, ge=1)
    max_characters: int = Field(default=2000, ge=1, le=20_000)
    scripts: tuple[str, ...] = Field(default=("Latin", "Greek"), min_length=1, description="Unicode scripts to expect")
    max_unexpected: float = Field(default=0.05, ge=0, le=1, description="largest share of letters of other scripts")
    near_duplicate: float = Field(
        default=0.2, ge=0, le=1,
        description="mean distance (1 - BLEU) below which questions with equal numbers are one; 0: only equal texts",
    )  # fmt: skip

    @field_validator("scripts")
    @classmethod
    def _known_scripts(cls, scripts: tuple[str, ...]) -> tuple[str, ...]:
        for script in scripts:
            try:
                regex.compile(rf"\p{{Script={script}}}")
            except regex.error as error:
                raise ValueError(f"there is no Unicode script {script!r}; write Latin, Greek, Han …") from error
        return scripts

    @model_validator(mode="after")
    def _lengths(self) -> QuestionConfig:
        if self.min_characters > self.max_characters:
            raise ValueError(
                f"min_characters {self.min_characters} is more than max_characters {self.max_characters}; "
                "lower question.min_characters"
            )
        return self


class ChallengerStageConfig(Contract):
    """A challenger's training against a frozen solver."""

    name: str
    ask: Instruction
    grpo: GrpoConfig = GrpoConfig(group=4)
    train: TrainConfig
    reward: RewardConfig = RewardConfig()
    question: QuestionConfig = QuestionConfig()
    samples: int = Field(default=10, ge=2, le=1024, description="m: the solver's answers to a question")
    solver_system: str = ""
    answer_tokens: int = Field(default=4096, ge=1, description="of an answer of the solver")
    engine: EngineConfig = Field(default=EngineConfig(), description="the policy's, and the frozen solver's beside it")

    @model_validator(mode="after")
    def _fits(self) -> ChallengerStageConfig:
        check_rollouts(self.grpo, self.train)
        return self

    @property
    def engines(self) -> int:
        """That run at the same time."""
        return 2


class PoolStageConfig(Contract):
    """The questions of an iteration."""

    name: str
    ask: Instruction
    responses: int = Field(default=8000, ge=1, description="N")
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=4096, ge=1)
    question: QuestionConfig = QuestionConfig()
    engine: EngineConfig = EngineConfig()


class AuditConfig(Contract):
    """How a judge audits labels, where there is one."""

    questions: int = Field(default=200, ge=1, description="drawn at random of those that are kept (paper: 200)")
    max_tokens: int = Field(default=4096, ge=1, description="of what the judge writes")


class LabelStageConfig(Contract):
    """The pseudo-labels of an iteration."""

    name: str
    label: LabelConfig = LabelConfig()
    solver_system: str = ""
    max_tokens: int = Field(default=4096, ge=1)
    least: int = Field(
        default=1, ge=1, description="labels without which the solver can't train: its prompts a rollout"
    )
    engine: EngineConfig = Field(default=EngineConfig(), description="the solver's, and then the judge's")
    audit: AuditConfig = AuditConfig()


class SolverStageConfig(Contract):
    """A solver's training on pseudo-labels."""

    name: str
    grpo: GrpoConfig = GrpoConfig()
    train: TrainConfig
    solver_system: str = ""
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _fits(self) -> SolverStageConfig:
        check_rollouts(self.grpo, self.train)
        return self


class StopConfig(Contract):
    """When the held-out score has fallen so far that the run ends: below its best, base included."""

    drop: float = Field(default=0.02, ge=0, le=1, description="fall of avg@n that is allowed; the paper saw 0.026")
    patience: int = Field(default=1, ge=1, description="iterations in a row that must lie further below")


class SelectStageConfig(Contract):
    """How many iterations are played, and which one is published."""

    name: str
    on: str = Field(default="test", description="the held-out set whose avg@n decides")
    iterations: int = Field(default=3, ge=1, le=MOST_ITERATIONS, description="to play, unless the score falls")
    stop: StopConfig = StopConfig()
