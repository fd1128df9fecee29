"""The recipe of the DFT track: one base, one set of chats, an arm for each loss."""

from __future__ import annotations

from pydantic import Field, model_validator

from components.dft.checks import CheckConfig
from components.dft.config import (
    AnalyseStageConfig,
    ArmsStageConfig,
    BaseStageConfig,
    DpoConfig,
    EvaluateStageConfig,
    LoraConfig,
    OnlineConfig,
    ProblemsStageConfig,
    SampleStageConfig,
    TableStageConfig,
    TuneConfig,
    ValidateStageConfig,
)
from components.dft.loss_config import LossConfig
from components.language.config import ModelConfig, ProblemsConfig, TokenizerConfig
from components.language.engine_config import EngineConfig
from components.language.grpo_config import GrpoConfig
from components.release.config import LanguageGateConfig, PublishConfig
from components.training.config import TrainConfig
from data_contracts.base import Contract
from pipelines.recipes.base import Recipe
from pipelines.recipes.cluster import check_engine

ARMS: dict[str, LossConfig] = {
    "sft": LossConfig(variant="sft"),
    "dft": LossConfig(variant="dft"),
    "iw_sft": LossConfig(variant="iw-sft"),
    "asft": LossConfig(variant="asft"),
}
"""The arms that have a loss of their own, by the name of their parameter."""


class Problems(Contract):
    """The embedded data: what the base and the arms see, and how much."""

    base: ProblemsConfig
    train: ProblemsConfig
    base_examples: int = Field(ge=1)
    train_examples: int = Field(ge=1)
    test_examples: int = Field(ge=1)
    harder_examples: int = Field(ge=1)


class Offline(Contract):
    """The offline setting: the base's own answers, and the arm that no chat alone can train."""

    samples: int = Field(default=4, ge=2, description="of each question")
    questions: int = Field(default=0, ge=0, description="the first of the training chats; 0: all")
    beta: float = Field(default=0.1, gt=0, description="of DPO")
    dpo: TrainConfig


class Online(Contract):
    """The online setting: as many answers for both arms, of one question each to PPO's, `group` of each to GRPO's."""

    sequences: int = Field(ge=2, description="answers of a rollout")
    group: int = Field(default=4, ge=2, description="answers to each question that GRPO compares")
    updates: int = Field(default=2, ge=1, description="optimiser steps on each rollout")
    kl_weight: float = Field(default=0.01, ge=0)
    train: TrainConfig

    def method(self, name: str, max_tokens: int) -> GrpoConfig:
        """`grpo`, or `ppo` with PPO's symmetric clip."""
        grpo = GrpoConfig(
            prompts=self.sequences // self.group, group=self.group, updates=self.updates, max_tokens=max_tokens,
            top_p=1.0, kl_weight=self.kl_weight,
        )  # fmt: skip
        alone = {"prompts": self.sequences, "group": 1, "baseline": "rollout", "clip_high": 0.2}
        return grpo if name == "grpo" else grpo.model_copy(update=alone)


class Judge(Contract):
    """Samples of each problem; fields are `EvaluateStageConfig`'s."""

    samples: int = Field(default=16, ge=1)
    problems: int = Field(default=0, ge=0)
    pass_at: tuple[int, ...] = (1, 4, 16)


class DftRecipe(Recipe):
    """Every arm starts from the same base and sees the same chats in the same order; only the loss differs."""

    problems: Problems
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    base_train: TrainConfig
    train: TrainConfig
    lora: LoraConfig | None = None
    offline: Offline
    online: Online
    checks: CheckConfig = CheckConfig()
    judge: Judge = Judge()
    engine: EngineConfig = EngineConfig()
    max_drop: float = Field(default=0.05, ge=0, le=1, description="largest fall of a score that the gate lets pass")
    analysed: int = Field(default=500, ge=1, description="training chats whose tokens are analysed")

    def stages(self) -> dict[str, Contract]:
        def name(part: str) -> str:
            return f"dft-{self.name}-{part.replace('_', '-')}"

        length = self.model.context
        evaluate = EvaluateStageConfig(
            name=name("scores"), max_tokens=length // 2, engine=self.engine, **dict(self.judge)
        )
        analyse = AnalyseStageConfig(name=name("tokens"), examples=self.analysed, max_length=length)
        base = TuneConfig(name=name("base"), loss=LossConfig(variant="sft"), train=self.base_train, max_length=length)
        return {
            "problems": ProblemsStageConfig(name=name("problems"), **dict(self.problems)),
            "base": BaseStageConfig(
                name=name("base"), problems=self.problems.base, tokenizer=self.tokenizer, model=self.model, tune=base
            ),
            "validate": ValidateStageConfig(
                name=name("chats"), checks=self.checks.model_copy(update={"max_length": length})
            ),
            **{
                arm: TuneConfig(name=name(arm), loss=loss, train=self.train, max_length=length, lora=self.lora)
                for arm, loss in ARMS.items()
            },
            "sample": SampleStageConfig(
                name=name("answers"),
                samples=self.offline.samples,
                max_tokens=length // 2,
                questions=self.offline.questions,
                engine=self.engine,
            ),
            "dpo": DpoConfig(name=name("dpo"), beta=self.offline.beta, train=self.offline.dpo, max_length=length),
            **{
                arm: OnlineConfig(
                    name=name(arm), grpo=self.online.method(arm, length // 2), train=self.online.train,
                    questions=self.offline.questions, engine=self.engine,
                )
                for arm in ("grpo", "ppo")
            },
            "evaluate": evaluate,
            "analyse": analyse,
            "arms": ArmsStageConfig(name=name("arms"), evaluate=evaluate, analyse=analyse),
            "table": TableStageConfig(name=name("table"), against=("base", "sft")),
            "gate": LanguageGateConfig(policy=f"dft-{self.name}", max_drop=self.max_drop),
            "publish": PublishConfig(policy=f"dft-{self.name}"),
        }  # fmt: skip

    @model_validator(mode="after")
    def _agree(self) -> DftRecipe:
        check_engine(self.engine, self.cluster, self.model.context // 2)
        self.stages()  # each stage's own checks
        return self
