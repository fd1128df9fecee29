"""The DFT paper's table: every arm in both settings, trained three times from one base, a row per arm.

(Wu et al., arXiv 2508.05629.) SFT, DFT, iw-SFT and ASFT learn from the given solutions. In the offline setting the base
answers the training questions itself, four times each: SFT on its right answers is RFT, DFT and iw-SFT learn from them
too, and DPO prefers a right answer to a wrong one. Online, GRPO and a PPO-style arm (PPO's clipped loss, but no value
network) sample answers as they learn, and are paid for the right ones. A repetition has its own order of chats and its
own answers. The base is one for all, as in the paper: the question is what a loss makes of a given model.
"""

from typing import NamedTuple

from kfp import dsl

from components.dft.component import (
    dft_arms,
    dft_base,
    dft_dpo,
    dft_online,
    dft_problems,
    dft_sample,
    dft_table,
    dft_train,
    dft_validate,
)
from pipelines.dag import titled

SEEDS = (0, 1, 2)


class Compared(NamedTuple):
    base: str
    table: str


@dsl.pipeline(name="dft-paper", display_name="DFT, the paper's table", description=__doc__)
def dft_paper(
    store: str,
    seed: int,
    problems_config: str,
    base_config: str,
    validate_config: str,
    sft_config: str,
    dft_config: str,
    iw_sft_config: str,
    asft_config: str,
    sample_config: str,
    dpo_config: str,
    grpo_config: str,
    ppo_config: str,
    arms_config: str,
    table_config: str,
) -> Compared:
    problems = titled("Problems", dft_problems(store=store, seed=seed, config=problems_config))
    base = titled("Base model", dft_base(store=store, seed=seed, config=base_config, problems=problems.output))
    chats = dft_validate(store=store, seed=seed, config=validate_config, problems=problems.output, model=base.output)
    titled("Validate", chats)
    given = {"sft": sft_config, "dft": dft_config, "iw_sft": iw_sft_config, "asft": asft_config}
    own = {"rft": sft_config, "own_dft": dft_config, "own_iw_sft": iw_sft_config}
    judged = []
    for number in SEEDS:
        repetition = str(number)
        answers = dft_sample(
            store=store, seed=number, config=sample_config, model=base.output, chats=chats.output, repetition=repetition
        )
        titled(f"Own answers, seed {number}", answers)
        models = {}
        for arms, data in ((given, chats), (own, answers)):
            for arm, config in arms.items():
                model = dft_train(
                    store=store, seed=number, config=config, model=base.output, chats=data.output, repetition=repetition
                )
                models[arm] = titled(f"{arm}, seed {number}", model).output
        preferring = dft_dpo(
            store=store, seed=number, config=dpo_config, model=base.output, pairs=answers.output, repetition=repetition
        )
        models["dpo"] = titled(f"dpo, seed {number}", preferring).output
        for arm, config in {"grpo": grpo_config, "ppo": ppo_config}.items():
            learning = dft_online(
                store=store, seed=number, config=config, model=base.output, chats=chats.output, repetition=repetition
            )
            models[arm] = titled(f"{arm}, seed {number}", learning).output
        scores = dft_arms(
            store=store, seed=number, config=arms_config, base=base.output, problems=problems.output,
            chats=chats.output, repetition=repetition, **models,
        )  # fmt: skip
        judged.append(titled(f"Judge, seed {number}", scores).output)
    table = dft_table(store=store, seed=seed, config=table_config, first=judged[0], second=judged[1], third=judged[2])
    titled("Table", table)
    return Compared(base=base.output, table=table.output)
