"""The recipe of the R-Zero track: one base from which both players start, and three equal iterations."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from components.dft.checks import CheckConfig
from components.dft.config import (
    ArmsStageConfig,
    BaseStageConfig,
    EvaluateStageConfig,
    FurtherStageConfig,
    ProblemsStageConfig,
    TableStageConfig,
    TuneConfig,
)
from components.dft.loss_config import LossConfig
from components.language.config import ModelConfig, TokenizerConfig
from components.language.engine_config import EngineConfig
from components.language.grpo_config import GrpoConfig
from components.r_zero.config import (
    MOST_ITERATIONS,
    ChallengerStageConfig,
    Instruction,
    LabelConfig,
    LabelStageConfig,
    PoolStageConfig,
    QuestionConfig,
    RewardConfig,
    SelectStageConfig,
    SolverStageConfig,
    StopConfig,
)
from components.release.config import LanguageGateConfig, PublishConfig
from components.training.config import TrainConfig
from data_contracts.base import Contract
from pipelines.recipes.base import Recipe
from pipelines.recipes.cluster import check_engine
from pipelines.recipes.dft.types import Judge, Problems


class PlayerTraining(Contract):
    """How a player is trained."""

    grpo: GrpoConfig
    train: TrainConfig


class Curriculum(Recipe):
    """What R-Zero is whatever it starts from: both players are the same model at first; every iteration has the same
    settings."""

    ask: Instruction = Field(description="what the challenger is told")
    solver_system: str = Field(default="", description="what the solver is told before a question")
    question: QuestionConfig = QuestionConfig()
    question_tokens: int = Field(ge=1, description="of a response of the challenger")
    answer_tokens: int = Field(ge=1, description="of an answer of the solver, and of a judged one")
    reward: RewardConfig = RewardConfig()
    challenger: PlayerTraining
    responses: int = Field(default=8000, ge=1, description="N, from which an iteration's questions are taken")
    label: LabelConfig = LabelConfig()
    solver: PlayerTraining
    iterations: int = Field(default=3, ge=1, le=MOST_ITERATIONS, description="to play, unless the score falls")
    stop: StopConfig = StopConfig()
    then: Literal["none", "sft", "dft"] = Field(default="none", description="how the best solver learns from data then")
    then_train: TrainConfig
    checks: CheckConfig = Field(default=CheckConfig(), description="of that data")
    judge: Judge = Judge()
    engine: EngineConfig = Field(default=EngineConfig(), description="of every stage that samples")
    judged_on: str = Field(default="test", description="the held-out set whose avg@n decides")
    max_drop: float = Field(default=0.05, ge=0, le=1, description="largest fall of a score that the gate lets pass")

    @property
    def chat_tokens(self) -> int:
        """Tokens of a supervised chat."""
        return self.question_tokens + self.answer_tokens

    def shared_stages(self) -> dict[str, Contract]:
        """Of the stages that do not know where base and problems come from."""
        name = self.stage_name
        labels = LabelStageConfig(
            name=name("labels"), label=self.label, solver_system=self.solver_system,
            max_tokens=self.answer_tokens, least=self.solver.grpo.prompts, engine=self.engine,
        )  # fmt: skip
        further = None
        if self.then != "none":
            further = TuneConfig(
                name=name("further"), loss=LossConfig(variant=self.then), train=self.then_train,
                max_length=self.chat_tokens,
            )  # fmt: skip
        return {
            "challenger": ChallengerStageConfig(
                name=name("challenger"), ask=self.ask, grpo=self.challenger.grpo, train=self.challenger.train,
                reward=self.reward, question=self.question, samples=self.label.samples,
                solver_system=self.solver_system, answer_tokens=self.answer_tokens, engine=self.engine,
            ),
            "questions": PoolStageConfig(
                name=name("questions"), ask=self.ask, responses=self.responses, max_tokens=self.question_tokens,
                question=self.question, engine=self.engine,
            ),
            "labels": labels,
            "solver": SolverStageConfig(
                name=name("solver"), grpo=self.solver.grpo, train=self.solver.train, solver_system=self.solver_system,
                engine=self.engine,
            ),
            "evaluate": self.evaluate,
            "select": SelectStageConfig(
                name=name("best"), on=self.judged_on, iterations=self.iterations, stop=self.stop
            ),
            "further": FurtherStageConfig(
                name=name("further"), checks=self.checks.model_copy(update={"max_length": self.chat_tokens}),
                tune=further,
            ),
            "publish": PublishConfig(policy=self.policy),
        }  # fmt: skip

    @property
    def evaluate(self) -> EvaluateStageConfig:
        return EvaluateStageConfig(
            name=self.stage_name("scores"), max_tokens=self.answer_tokens, system=self.solver_system,
            engine=self.engine, **dict(self.judge),
        )  # fmt: skip

    @property
    def policy(self) -> str:
        return f"r-zero-{self.name}".replace("_", "-")

    def stage_name(self, part: str) -> str:
        return f"{self.policy}-{part}"

    def plans(self, title: str) -> bool:
        """An iteration's tasks end with its number, those of the end after so many too."""
        found = re.search(r"(after|best of)? ?(?<!seed )([1-9])\??$", title, re.IGNORECASE)
        if found is None:
            return True
        number = int(found[2])
        return number == self.iterations if found[1] else number <= self.iterations

    @model_validator(mode="after")
    def _sampled_as_trained(self) -> Curriculum:
        check_engine(self.engine, self.cluster, max(self.question_tokens, self.answer_tokens))
        for player, tokens in (("challenger", self.question_tokens), ("solver", self.answer_tokens)):
            training: PlayerTraining = getattr(self, player)
            if training.grpo.max_tokens != tokens:
                part = "question" if player == "challenger" else "answer"
                raise ValueError(
                    f"{player}.grpo.max_tokens {training.grpo.max_tokens} is not {part}_tokens {tokens}, with which "
                    "the player is sampled afterwards; make them equal"
                )
        return self


class RZeroRecipe(Curriculum):
    """R-Zero from the small model of the embedded default, on generated problems."""

    problems: Problems = Field(description="the base's, and the held-out ones; no player ever sees their answers")
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    base_train: TrainConfig

    def stages(self) -> dict[str, Contract]:
        name, shared = self.stage_name, self.shared_stages()
        base = TuneConfig(name=name("base"), train=self.base_train, max_length=self.model.context)
        return shared | {
            "problems": ProblemsStageConfig(name=name("problems"), **dict(self.problems)),
            "base": BaseStageConfig(
                name=name("base"), problems=self.problems.base, tokenizer=self.tokenizer, model=self.model, tune=base
            ),
            "unpenalised": shared["challenger"].model_copy(
                update={"reward": self.reward.model_copy(update={"repetition_weight": 0.0})}
            ),
            "unfiltered": shared["labels"].model_copy(
                update={"label": self.label.model_copy(update={"half_width": 0.5})}
            ),
            "players": ArmsStageConfig(name=name("players"), evaluate=self.evaluate),
            "table": TableStageConfig(name=name("table"), against=("base", "untrained", "first")),
            "gate": LanguageGateConfig(policy=self.policy, max_drop=self.max_drop),
        }  # fmt: skip

    @model_validator(mode="after")
    def _agree(self) -> RZeroRecipe:
        if self.then != "none" and self.problems.train_examples < self.then_train.batch_size:
            raise ValueError(
                f"then={self.then} has {self.problems.train_examples} chats to learn from, fewer than one batch of "
                f"{self.then_train.batch_size}; set problems.train_examples, e.g. to 4000"
            )
        self.stages()  # each stage's own checks
        return self
