"""The recipe of DFT on a model and data from outside, and the settings that the paper's five models share."""

from __future__ import annotations

from pydantic import Field, model_validator

from components.dft.checks import CheckConfig
from components.dft.config import (
    AnalyseStageConfig,
    ChatsAdoptConfig,
    EvaluateStageConfig,
    LoraConfig,
    ModelAdoptConfig,
    Source,
    TuneConfig,
    ValidateStageConfig,
)
from components.language.engine_config import EngineConfig
from components.release.config import LanguageGateConfig, PublishConfig
from components.training.config import TrainConfig
from data_contracts.base import Contract
from pipelines.recipes.base import Recipe
from pipelines.recipes.cluster import Cluster, check_engine
from pipelines.recipes.dft.types import ARMS, Judge

SETS = ("math_500", "minerva", "olympiad", "aime24", "amc23")
EXAMPLES, BATCH = 100_000, 256

PLAIN_CHAT = (
    "{{ bos_token or '' }}{% for m in messages %}{% if m.role == 'user' %}{{ 'User: ' + m.content + '\\n\\n' }}"
    "{% elif m.role == 'assistant' %}{{ 'Assistant: ' + m.content + eos_token }}"
    "{% else %}{{ m.content + '\\n\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
"""For base models: none was trained to end a turn but by its end of text, and some have no template at all."""


class AdoptedRecipe(Recipe):
    """Where the model, the training data and the sets to judge by lie is the user's to say: `model.uri`, `data.uri` and
    `sets.NAME`. A set without a URI is left out."""

    model: Source = Source()
    data: Source = Source()
    sets: dict[str, str] = Field(default=dict.fromkeys(SETS, ""), description="name -> URI of problems with answers")
    examples: int = Field(default=EXAMPLES, ge=1, description="training chats, drawn at random")
    chat_template: str = PLAIN_CHAT
    pad_token: str = ""
    train: TrainConfig
    max_length: int = Field(default=2048, ge=8)
    lora: LoraConfig | None = None
    checks: CheckConfig = CheckConfig()
    judge: Judge = Judge()
    engine: EngineConfig = EngineConfig()
    max_tokens: int = Field(default=4096, ge=1, description="of an answer; with the prompt it has to fit the model")
    analysed: int = Field(default=500, ge=1)
    max_drop: float = Field(default=0.05, ge=0, le=1, description="largest fall of a score that the gate lets pass")

    def stages(self) -> dict[str, Contract]:
        def name(part: str) -> str:
            return f"dft-{self.name}-{part.replace('_', '-')}".replace("_", "-")

        sets = {name: Source(uri=uri) for name, uri in self.sets.items() if uri}
        return {
            "adopt_model": ModelAdoptConfig(
                name=name("base"), source=self.model, chat_template=self.chat_template, pad_token=self.pad_token
            ),
            "adopt_chats": ChatsAdoptConfig(name=name("data"), train=self.data, examples=self.examples, sets=sets),
            "validate": ValidateStageConfig(
                name=name("chats"), checks=self.checks.model_copy(update={"max_length": self.max_length})
            ),
            **{
                arm: TuneConfig(
                    name=name(arm), loss=ARMS[arm], train=self.train, max_length=self.max_length, lora=self.lora
                )
                for arm in ("sft", "dft", "iw_sft")
            },
            "evaluate": EvaluateStageConfig(
                name=name("scores"), max_tokens=self.max_tokens, engine=self.engine, **dict(self.judge)
            ),
            "analyse": AnalyseStageConfig(name=name("tokens"), examples=self.analysed, max_length=self.max_length),
            "gate": LanguageGateConfig(
                policy=f"dft-{self.name}", sets=tuple(sets or self.sets), max_drop=self.max_drop
            ),
            "publish": PublishConfig(policy=f"dft-{self.name}"),
        }

    @model_validator(mode="after")
    def _agree(self) -> AdoptedRecipe:
        check_engine(self.engine, self.cluster, self.max_tokens)
        self.stages()  # each stage's own checks
        return self


def paper(
    name: str, learning_rate: float = 5e-5, max_tokens: int = 4096, pad_token: str = "", hours: float = 2.0
) -> AdoptedRecipe:
    """One epoch of 100k chats in batches of 256: 8 GPUs with 32 each, 4 at a time (2508.05629, Sec. 4.1)."""
    steps = EXAMPLES // BATCH
    return AdoptedRecipe(
        name=name,
        train=TrainConfig(
            steps=steps, batch_size=BATCH, micro_batch=4, learning_rate=learning_rate, betas=(0.9, 0.95),
            weight_decay=0.01, warmup_steps=steps // 10, decay="cosine", clip=1.0, precision="bf16", zero_stage=2,
            processes=8, recompute=True, log_every=5,
        ),
        max_tokens=max_tokens,
        engine=EngineConfig(
            device="gpu", dtype="bfloat16", enforce_eager=False, max_model_len=8192, max_num_seqs=512,
            start_seconds=1800,
        ),
        pad_token=pad_token,
        estimates=dict.fromkeys(_STAGES, hours * 3600.0) | _ESTIMATES,
        cluster=Cluster(
            accelerator="nvidia.com/gpu", cpus=8, memory_gib=64, shared_memory_gib=16, scratch_gib=200, hours=72
        ),
    )  # fmt: skip


_STAGES = ("dft.train", "dft.evaluate")
_ESTIMATES = {
    "dft.adopt-model": 600.0,
    "dft.adopt-chats": 300.0,
    "dft.validate": 300.0,
    "dft.analyse": 600.0,
    "release.language-gate": 5.0,
    "release.language-publish": 300.0,
}
"""Seconds, guessed and not measured, until a run has measured them."""
