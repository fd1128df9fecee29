"""GE-Act: the action expert on GE-Base's features, in three phases, and its closed-loop evaluation against other arms.

(Genie Envisioner, Sec. 3: action pretraining, video adaptation, action specialization.)
"""

from typing import NamedTuple

from kfp import dsl

from components.ge_act.component import (
    ge_act_adapt,
    ge_act_evaluate,
    ge_act_from_scratch,
    ge_act_pretrain,
    ge_act_specialize,
)


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
    ).set_display_name("Phase 1: action pretraining")
    adapted = ge_act_adapt(
        store=store, seed=seed, config=adapt_config, frames=frames, codec=codec, video=video
    ).set_display_name("Phase 2: video adaptation")
    model = ge_act_specialize(
        store=store, seed=seed, config=specialize_config, dataset=dataset, frames=frames, codec=codec,
        video=adapted.output, expert=expert.output,
    ).set_display_name("Phase 3: action specialization")  # fmt: skip
    control = ge_act_from_scratch(
        store=store, seed=seed, config=from_scratch_config, dataset=dataset, frames=frames, codec=codec
    ).set_display_name("Control: without GE-Base")

    ge_act_evaluate(
        store=store, seed=seed, config=evaluate_expert_config, frames=frames, codec=codec
    ).set_display_name("Arm: scripted expert")  # fmt: skip
    mean_action = ge_act_evaluate(
        store=store, seed=seed, config=evaluate_mean_action_config, frames=frames, codec=codec
    ).set_display_name("Arm: mean action")
    evaluation = ge_act_evaluate(
        store=store, seed=seed, config=evaluate_policy_config, frames=frames, codec=codec, policy=model.output
    ).set_display_name("Arm: GE-Act")
    ge_act_evaluate(
        store=store, seed=seed, config=evaluate_from_scratch_config, frames=frames, codec=codec, policy=control.output
    ).set_display_name("Arm: without GE-Base")
    return Policy(model=model.output, evaluation=evaluation.output, mean_action=mean_action.output)
