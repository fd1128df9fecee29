"""The recipe of R-Zero from a model from outside, and the settings that the paper's four models share."""

from __future__ import annotations

from pydantic import Field, model_validator

from components.dft.config import ChatsAdoptConfig, ModelAdoptConfig, Source
from components.language.engine_config import EngineConfig
from components.language.grpo_config import GrpoConfig
from components.r_zero.config import AuditConfig, Instruction
from components.release.config import LanguageGateConfig
from components.training.config import TrainConfig
from data_contracts.base import Contract
from pipelines.recipes.cluster import Cluster
from pipelines.recipes.dft.types import Judge
from pipelines.recipes.r_zero.types import Curriculum, PlayerTraining

SETS = (
    "math_500", "gsm8k", "amc23", "minerva", "olympiad", "aime24", "aime25", "mmlu_pro", "supergpqa", "bbeh",
)  # fmt: skip
TOKENS = 4096
"""Of a response, of either player."""
ENGINE = EngineConfig(
    device="gpu", dtype="bfloat16", enforce_eager=False, tensor_parallel_size=2, max_model_len=2 * TOKENS,
    max_num_seqs=512, start_seconds=1800,
)  # fmt: skip
"""Two GPUs of its own: a training holds its memory for as long as it runs, so they share none. Not tried on a GPU."""

CHALLENGE = Instruction(
    system=(
        "You set problems for mathematics competitions. Think first, in private. Then invent one new problem, from any "
        "field of mathematics, that fewer than three in ten strong high-school students would solve; do not repeat a "
        "problem that is known. Finish with exactly two blocks and nothing else: the problem between <question> and "
        "</question>, and after it its final answer as \\boxed{answer}."
    ),
    user="Write one new, hard problem and its final answer, in exactly this form.",
)
"""What the paper's challenger is told, in other words: its role, its aim, the two blocks (R-Zero, App.)."""
SOLVE = "Reason step by step, and put your final answer within \\boxed{}."


class RZeroAdoptedRecipe(Curriculum):
    """Where the model and the sets to judge by lie is the user's to say: `model.uri` and `sets.NAME`; a set without a
    URI is left out. With `then`, `data.uri` names the supervised data."""

    model: Source = Source()
    data: Source = Field(default=Source(), description="chats that the best solver learns from, with `then`")
    examples: int = Field(default=100_000, ge=1, description="of them, drawn at random")
    sets: dict[str, str] = Field(default=dict.fromkeys(SETS, ""), description="name -> URI of problems with answers")
    auditor: Source = Field(default=Source(), description="a judge of pseudo-labels, by its own template; '': nobody")
    audit: AuditConfig = AuditConfig()
    chat_template: str = Field(default="", description="'': the model's own")
    pad_token: str = ""

    def stages(self) -> dict[str, Contract]:
        name = self.stage_name
        sets = {name: Source(uri=uri) for name, uri in self.sets.items() if uri}
        shared = self.shared_stages()
        return shared | {
            "adopt_model": ModelAdoptConfig(
                name=name("base"), source=self.model, chat_template=self.chat_template, pad_token=self.pad_token
            ),
            "adopt_auditor": ModelAdoptConfig(name=name("auditor"), role="auditor", source=self.auditor),
            "labels": shared["labels"].model_copy(update={"audit": self.audit}),
            "adopt_chats": ChatsAdoptConfig(
                name=name("problems"), train=None if self.then == "none" else self.data, examples=self.examples,
                sets=sets,
            ),
            "gate": LanguageGateConfig(policy=self.policy, sets=tuple(sets or self.sets), max_drop=self.max_drop),
        }  # fmt: skip

    @model_validator(mode="after")
    def _agree(self) -> RZeroAdoptedRecipe:
        if self.then != "none" and not self.data.uri:
            raise ValueError(f"then={self.then} has nothing to learn from; say --set data.uri=URI, or then=none")
        if any(self.sets.values()) and not self.sets.get(self.judged_on):
            raise ValueError(
                f"judged_on is {self.judged_on!r}, which decides which iteration is the best, but that set has no URI; "
                f"say --set sets.{self.judged_on}=URI, or judged_on=NAME of one that has"
            )
        self.stages()  # each stage's own checks
        return self


def paper(name: str, chat_template: str = "", pad_token: str = "") -> RZeroAdoptedRecipe:
    """Section 4.1 and the public scripts: the challenger makes 5 rollouts of 512 x 4 in 32 updates each, the solver 15
    of 512 x 5 in 4; N = 8,000 questions, m = 10, kept where |p - 1/2| <= 0.25; judged by mean@32.
    """
    return RZeroAdoptedRecipe(
        name=name,
        ask=CHALLENGE,
        solver_system=SOLVE,
        question_tokens=TOKENS,
        answer_tokens=TOKENS,
        challenger=PlayerTraining(
            grpo=GrpoConfig(prompts=512, group=4, updates=32, max_tokens=TOKENS),
            train=_train(steps=5 * 32, batch_size=64, micro_batch=2),
        ),
        solver=PlayerTraining(
            grpo=GrpoConfig(prompts=512, group=5, updates=4, max_tokens=TOKENS),
            train=_train(steps=15 * 4, batch_size=640, micro_batch=1),
        ),
        then_train=TrainConfig(
            steps=390, batch_size=256, micro_batch=4, learning_rate=5e-5, betas=(0.9, 0.95), weight_decay=0.01,
            warmup_steps=39, decay="cosine", clip=1.0, precision="bf16", zero_stage=2, processes=8, log_every=5,
            recompute=True,
        ),
        judge=Judge(samples=32, pass_at=(1, 8, 32)),
        engine=ENGINE,
        judged_on="math_500",
        chat_template=chat_template,
        pad_token=pad_token,
        estimates=_ESTIMATES,
        cluster=Cluster(
            accelerator="nvidia.com/gpu", cpus=8, memory_gib=96, shared_memory_gib=16, scratch_gib=200, hours=72
        ),
    )  # fmt: skip


def _train(steps: int, batch_size: int, micro_batch: int) -> TrainConfig:
    """Both players': AdamW at a constant 1e-6, decay .01, no warm-up, clipped at 1; 4 GPUs beside the engines'."""
    return TrainConfig(
        steps=steps, batch_size=batch_size, micro_batch=micro_batch, learning_rate=1e-6, betas=(0.9, 0.999),
        weight_decay=0.01, warmup_steps=0, decay="constant", clip=1.0, precision="bf16", zero_stage=2, processes=4,
        recompute=True, log_every=1,
    )  # fmt: skip


_ESTIMATES = {
    "dft.adopt-model": 600.0,
    "dft.adopt-chats": 300.0,
    "r_zero.challenger": 4 * 3600.0,
    "r_zero.questions": 3600.0,
    "r_zero.labels": 2 * 3600.0,
    "r_zero.solver": 6 * 3600.0,
    "r_zero.decide": 60.0,
    "r_zero.select": 300.0,
    "dft.further": 60.0,
    "dft.evaluate": 2 * 3600.0,
    "release.language-gate": 5.0,
    "release.language-publish": 300.0,
}
"""Seconds, guessed and not measured, until a run has measured them."""
