"""The recipe of the R-Zero track: one base from which both players start, and three equal iterations."""

from __future__ import annotations

from pydantic import Field, model_validator

from components.dft.config import (
    ArmsStageConfig,
    BaseStageConfig,
    EvaluateStageConfig,
    ProblemsStageConfig,
    TableStageConfig,
    TuneConfig,
)
from components.language.config import ModelConfig, TokenizerConfig
from components.language.grpo_config import GrpoConfig
from components.r_zero.config import (
    ChallengerStageConfig,
    Instruction,
    LabelConfig,
    LabelStageConfig,
    PoolStageConfig,
    QuestionConfig,
    RewardConfig,
    SelectStageConfig,
    SolverStageConfig,
)
from components.release.config import LanguageGateConfig, PublishConfig
from components.training.config import TrainConfig
from data_contracts.base import Contract
from pipelines.recipes.base import Recipe
from pipelines.recipes.dft.types import Judge, Problems


class PlayerTraining(Contract):
    """How a player is trained."""

    grpo: GrpoConfig
    train: TrainConfig


class RZeroRecipe(Recipe):
    """Both players are the same network at first; every iteration has the same settings."""

    problems: Problems = Field(description="the base's, and the held-out ones; no player ever sees their answers")
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    base_train: TrainConfig
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
    judge: Judge = Judge()
    max_drop: float = Field(default=0.05, ge=0, le=1, description="largest fall of a score that the gate lets pass")

    def stages(self) -> dict[str, Contract]:
        def name(part: str) -> str:
            return f"r-zero-{self.name}-{part}"

        base = TuneConfig(name=name("base"), train=self.base_train, max_length=self.model.context)
        challenger = ChallengerStageConfig(
            name=name("challenger"), ask=self.ask, grpo=self.challenger.grpo, train=self.challenger.train,
            reward=self.reward, question=self.question, samples=self.label.samples,
            solver_system=self.solver_system, answer_tokens=self.answer_tokens,
        )  # fmt: skip
        labels = LabelStageConfig(
            name=name("labels"), label=self.label, solver_system=self.solver_system,
            max_tokens=self.answer_tokens, least=self.solver.grpo.prompts,
        )  # fmt: skip
        evaluate = EvaluateStageConfig(name=name("scores"), max_tokens=self.answer_tokens, **dict(self.judge))
        return {
            "problems": ProblemsStageConfig(name=name("problems"), **dict(self.problems)),
            "base": BaseStageConfig(
                name=name("base"), problems=self.problems.base, tokenizer=self.tokenizer, model=self.model, tune=base
            ),
            "challenger": challenger,
            "unpenalised": challenger.model_copy(
                update={"reward": self.reward.model_copy(update={"repetition_weight": 0.0})}
            ),
            "questions": PoolStageConfig(
                name=name("questions"), ask=self.ask, responses=self.responses, max_tokens=self.question_tokens,
                question=self.question,
            ),
            "labels": labels,
            "unfiltered": labels.model_copy(update={"label": self.label.model_copy(update={"half_width": 0.5})}),
            "solver": SolverStageConfig(
                name=name("solver"), grpo=self.solver.grpo, train=self.solver.train, solver_system=self.solver_system
            ),
            "evaluate": evaluate,
            "players": ArmsStageConfig(name=name("players"), evaluate=evaluate),
            "table": TableStageConfig(name=name("table"), against=("base", "untrained", "first")),
            "select": SelectStageConfig(name=name("best")),
            "gate": LanguageGateConfig(policy=f"r-zero-{self.name}", max_drop=self.max_drop),
            "publish": PublishConfig(policy=f"r-zero-{self.name}"),
        }  # fmt: skip

    @model_validator(mode="after")
    def _agree(self) -> RZeroRecipe:
        for player, tokens in (("challenger", self.question_tokens), ("solver", self.answer_tokens)):
            training: PlayerTraining = getattr(self, player)
            if training.grpo.max_tokens != tokens:
                part = "question" if player == "challenger" else "answer"
                raise ValueError(
                    f"{player}.grpo.max_tokens {training.grpo.max_tokens} is not {part}_tokens {tokens}, with which "
                    "the player is sampled afterwards; make them equal"
                )
        self.stages()  # each stage's own checks
        return self
