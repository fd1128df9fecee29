"""What each DFT stage is asked to do. Cheap to import: recipes read it without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.dft.checks import CheckConfig
from components.dft.loss_config import LossConfig
from components.language.config import LEVELS, ModelConfig, ProblemsConfig, TokenizerConfig
from components.language.engine_config import EngineConfig
from components.language.grpo_config import GrpoConfig, check_rollouts
from components.language.samples import SamplingConfig
from components.training.config import TrainConfig
from data_contracts.base import Contract


class ProblemsStageConfig(Contract):
    """The embedded data: generated problems with worked solutions, in four files of chats."""

    name: str
    base: ProblemsConfig = Field(description="what the base model is pretrained on")
    train: ProblemsConfig = Field(description="what the arms are fine-tuned on")
    base_examples: int = Field(ge=1)
    train_examples: int = Field(ge=1)
    test_examples: int = Field(ge=1, description="held out, of the levels of `train`")
    harder_examples: int = Field(ge=1, description="held out, of the levels above")

    @model_validator(mode="after")
    def _splits(self) -> ProblemsStageConfig:
        for part, config in (("base", self.base), ("train", self.train)):
            if config.split != "train":
                raise ValueError(f"{part}.split is {config.split!r}, which tests are made of; set it to 'train'")
        if self.train.asked_share:
            raise ValueError("train.asked_share: arms and tests are problems to solve; set it to 0, or in base alone")
        if not self.harder_levels:
            raise ValueError(
                f"train.levels {self.train.levels} reach the last level, so nothing is harder; leave {LEVELS[-1]} out"
            )
        return self

    @property
    def harder_levels(self) -> tuple[int, ...]:
        """The level above those of `train`."""
        return tuple(level for level in LEVELS if level == max(self.train.levels) + 1)


class Source(Contract):
    """Where something lies that is to be taken in."""

    uri: str = Field(default="", description="a folder or file here, a prefix in the store, or another store's URL")
    fingerprint: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="of its files; '' takes what is there, else it must be this",
    )


class ModelAdoptConfig(Contract):
    """A Hugging Face model from outside. What a base model was published without is given to it here."""

    name: str
    role: Literal["model", "auditor"] = Field(
        default="model", description="auditor: a judge, which there need not be; without a URI the version is empty"
    )
    source: Source = Source()
    chat_template: str = Field(default="", description="Jinja, in place of the tokenizer's; it ends turns in eos_token")
    pad_token: str = Field(default="", description="a special token of the vocabulary, in place of the tokenizer's")
    max_bytes: int = Field(default=64 << 30, gt=0)


class ChatsAdoptConfig(Contract):
    """Chats from outside: JSON lines, Parquet or Arrow. `sets` is what models are judged by, each with its answers."""

    name: str
    train: Source | None = Field(default=Source(), description="None: nothing is trained on")
    examples: int = Field(default=100_000, ge=1, description="drawn at random from `train`")
    sets: dict[str, Source] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named(self) -> ChatsAdoptConfig:
        if taken := {"train", "base", "quarantine"} & self.sets.keys():
            raise ValueError(f"sets.{min(taken)}: that name is taken; call the set otherwise")
        return self


class LoraConfig(Contract):
    """Low-rank adapters on every linear layer but the head (paper DFT, Table 8: rank 8, alpha 16)."""

    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, gt=0)


class TuneConfig(Contract):
    """One training of a language model on chats: the base (cross-entropy from random weights) or an arm."""

    name: str
    loss: LossConfig = LossConfig(variant="sft")
    train: TrainConfig
    max_length: int = Field(default=2048, ge=8, description="tokens of a chat; longer ones are refused")
    lora: LoraConfig | None = None


class FurtherStageConfig(Contract):
    """What a model that was trained otherwise goes on to learn from chats."""

    name: str
    checks: CheckConfig = CheckConfig()
    tune: TuneConfig | None = Field(default=None, description="None: nothing")


class SampleStageConfig(Contract):
    """The offline setting: the model's own answers to the training questions (paper DFT: 4 of each, temperature 1)."""

    name: str
    samples: int = Field(default=4, ge=2, description="of each question; a pair needs two")
    max_tokens: int = Field(default=2048, ge=1)
    questions: int = Field(default=0, ge=0, description="the first of the training chats; 0: all")
    engine: EngineConfig = EngineConfig()


class DpoConfig(Contract):
    """DPO on own answers (Rafailov et al., arXiv 2305.18290); paper DFT: learning rate 1e-6, batches of 128 pairs."""

    name: str
    beta: float = Field(default=0.1, gt=0, description="how dearly the distance from the start is paid")
    train: TrainConfig
    max_length: int = Field(default=2048, ge=8, description="tokens of a chat; longer ones are refused")


class OnlineConfig(Contract):
    """The online setting: the model answers the training questions as it learns, and a right answer earns 1.

    With the group as baseline it is GRPO; with the whole rollout it is PPO's clipped loss without a value network, as
    REINFORCE++ has it. Paper DFT's rivals: GRPO with 4 answers, learning rate 1e-6, batches of 256; PPO (with a value
    network, which is not here).
    """

    name: str
    grpo: GrpoConfig = GrpoConfig(group=4)
    train: TrainConfig
    questions: int = Field(default=0, ge=0, description="the first of the training chats; 0: all")
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _fits(self) -> OnlineConfig:
        check_rollouts(self.grpo, self.train)
        return self

    @property
    def method(self) -> str:
        """`grpo` or `ppo`."""
        return "grpo" if self.grpo.baseline == "group" else "ppo"


class BaseStageConfig(Contract):
    """The small model of the embedded default: its tokenizer, its size, its training."""

    name: str
    problems: ProblemsConfig = Field(description="what the tokenizer learns its pieces from")
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    tune: TuneConfig

    @model_validator(mode="after")
    def _fits(self) -> BaseStageConfig:
        if self.tune.max_length > self.model.context:
            raise ValueError(
                f"tune.max_length is {self.tune.max_length}, but model.context is {self.model.context}; "
                f"set tune.max_length={self.model.context} or less"
            )
        if self.tune.loss.needs_reference or self.tune.lora:
            raise ValueError(
                "tune: a base has nothing to refer to or adapt; set tune.loss.variant=sft and no tune.lora"
            )
        return self


class ValidateStageConfig(Contract):
    """The contract of training chats, checked with the tokenizer of the model that they are for."""

    name: str
    checks: CheckConfig = CheckConfig()


class EvaluateStageConfig(Contract):
    """How a model is judged: greedily, and by avg@n (paper DFT: n = 16 at temperature 1)."""

    name: str
    samples: int = Field(default=16, ge=1)
    max_tokens: int = Field(default=4096, ge=1)
    system: str = Field(default="", description="what the model is told before a problem that tells it nothing itself")
    problems: int = Field(default=0, ge=0, description="of each set; 0: all")
    pass_at: tuple[int, ...] = (1, 4, 16)
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _enough(self) -> EvaluateStageConfig:
        if max(self.pass_at) > self.samples:
            raise ValueError(
                f"pass_at {max(self.pass_at)} needs as many samples, but samples is {self.samples}; lower pass_at"
            )
        return self

    def sampling(self, seed: int, greedy: bool) -> SamplingConfig:
        """The engine's settings of one pass over a set."""
        if greedy:
            return SamplingConfig(temperature=0.0, max_tokens=self.max_tokens, seed=seed)
        return SamplingConfig(n=self.samples, max_tokens=self.max_tokens, seed=seed)


class AnalyseStageConfig(Contract):
    """Token probabilities before and after a training, on chats it was trained on."""

    name: str
    examples: int = Field(default=500, ge=1)
    max_length: int = Field(default=2048, ge=8)
    bins: int = Field(default=20, ge=2)


class ArmsStageConfig(Contract):
    """How the arms of a comparison are judged."""

    name: str
    evaluate: EvaluateStageConfig
    analyse: AnalyseStageConfig | None = Field(default=None, description="what trainings did to the tokens of chats")


class TableStageConfig(Contract):
    """The table over repetitions."""

    name: str
    against: tuple[str, ...] = Field(default=("base",), description="arms that the others are compared with")
