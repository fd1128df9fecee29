"""GE-Act: the action expert on GE-Base's features, in three phases, and its closed-loop evaluation against other arms.

(Genie Envisioner, Sec. 3: action pretraining, video adaptation, action specialization.)
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import PipelineTask

from components.ge_act.component import (
    ge_act_adapt,
    ge_act_evaluate,
    ge_act_from_scratch,
    ge_act_pretrain,
    ge_act_specialize,
)
from pipelines.dag import titled


class Policy(NamedTuple):
    model: str
    evaluation: str
    mean_action: str


@dsl.pipeline(name="ge-act", display_name="GE-Act", description=__doc__)
def ge_act(
    store: str,
    seed: int,
    dataset: str,
    frames: str,
    codec: str,
    video: str,
    pretrain_config: str,
    adapt_config: str,
    specialize_config: str,
    from_scratch_config: str,
    evaluate_expert_config: str,
    evaluate_mean_action_config: str,
    evaluate_policy_config: str,
    evaluate_from_scratch_config: str,
) -> Policy:
    expert = ge_act_pretrain(
        store=store, seed=seed, config=pretrain_config, dataset=dataset, frames=frames, codec=codec, video=video
    )
    adapted = ge_act_adapt(store=store, seed=seed, config=adapt_config, frames=frames, codec=codec, video=video)
    model = ge_act_specialize(
        store=store, seed=seed, config=specialize_config, dataset=dataset, frames=frames, codec=codec,
        video=adapted.output, expert=expert.output,
    )  # fmt: skip
    control = ge_act_from_scratch(
        store=store, seed=seed, config=from_scratch_config, dataset=dataset, frames=frames, codec=codec
    )
    titled("Phase 1: action pretraining", expert)
    titled("Phase 2: video adaptation", adapted)
    titled("Phase 3: action specialization", model)
    titled("Control: without GE-Base", control)

    def arm(title: str, config: str, policy: str = "") -> PipelineTask:
        task = ge_act_evaluate(store=store, seed=seed, config=config, frames=frames, codec=codec, policy=policy)
        return titled(f"Arm: {title}", task)

    arm("scripted expert", evaluate_expert_config)
    mean_action = arm("mean action", evaluate_mean_action_config)
    evaluation = arm("GE-Act", evaluate_policy_config, model.output)
    arm("without GE-Base", evaluate_from_scratch_config, control.output)
    return Policy(model=model.output, evaluation=evaluation.output, mean_action=mean_action.output)
