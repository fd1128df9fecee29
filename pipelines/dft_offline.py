"""DFT's offline setting: the base answers its training questions itself, and only its right answers are trained on.

(Wu et al., arXiv 2508.05629, offline reinforcement learning: four samples of each question, graded. SFT on the right
ones is RFT; DPO prefers a right answer to a wrong one.)
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import PipelineTask

from components.dft.component import (
    dft_base,
    dft_dpo,
    dft_evaluate,
    dft_problems,
    dft_sample,
    dft_train,
    dft_validate,
)
from pipelines.dag import titled


class Offline(NamedTuple):
    rft: str
    dft: str
    dpo: str


@dsl.pipeline(name="dft-offline", display_name="DFT, offline", description=__doc__)
def dft_offline(
    store: str,
    seed: int,
    problems_config: str,
    base_config: str,
    validate_config: str,
    sample_config: str,
    sft_config: str,
    dft_config: str,
    iw_sft_config: str,
    dpo_config: str,
    evaluate_config: str,
) -> Offline:
    problems = dft_problems(store=store, seed=seed, config=problems_config)
    base = dft_base(store=store, seed=seed, config=base_config, problems=problems.output)
    chats = dft_validate(store=store, seed=seed, config=validate_config, problems=problems.output, model=base.output)
    answers = dft_sample(store=store, seed=seed, config=sample_config, model=base.output, chats=chats.output)
    titled("Problems", problems)
    titled("Base model", base)
    titled("Validate", chats)
    titled("Own answers", answers)

    def judged(title: str, model: PipelineTask) -> PipelineTask:
        scores = dft_evaluate(
            store=store, seed=seed, config=evaluate_config, model=model.output, problems=problems.output
        )
        titled(f"Judge: {title}", scores)
        return model

    def arm(title: str, config: str) -> PipelineTask:
        model = dft_train(store=store, seed=seed, config=config, model=base.output, chats=answers.output)
        return judged(title, titled(f"Arm: {title}", model))

    judged("base", base)
    rft = arm("RFT", sft_config)
    tuned = arm("DFT", dft_config)
    arm("iw-SFT", iw_sft_config)
    preferring = dft_dpo(store=store, seed=seed, config=dpo_config, model=base.output, pairs=answers.output)
    judged("DPO", titled("Arm: DPO", preferring))
    return Offline(rft=rft.output, dft=tuned.output, dpo=preferring.output)
