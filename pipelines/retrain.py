"""Recurring retrain: take in the drops that arrived; if that is something new, adapt the policy, or train it in full;
evaluate, gate, and release it as candidate; tell how it went.
"""

from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.ge_act.component import ge_act_adapt, ge_act_evaluate, ge_act_specialize
from components.ge_base.component import ge_base_frames
from components.retrain.component import (
    retrain_adopt,
    retrain_base,
    retrain_decide,
    retrain_notify,
    retrain_take_in,
)
from pipelines.dag import titled
from pipelines.ge_act import ge_act
from pipelines.ge_base import ge_base
from pipelines.policy_release import policy_release


def recurring(
    store: str,
    seed: int,
    drops_config: str,
    intake_config: str,
    decide_config: str,
    notify_config: str,
    adapt: Callable[[Any, Any, Any], None],
    full: Callable[[Any], None],
) -> None:
    """What every recurring retrain does around its training, however it ends.

    `adapt(dataset, model, codec)` trains from the released policy's weights, `full(dataset)` from the beginning; each
    ends with a release.
    """
    last = titled("Tell how it went", retrain_notify(store=store, seed=seed, config=notify_config))
    with dsl.ExitHandler(last, name="retrain"):
        raws = titled("Adopt what arrived", retrain_adopt(store=store, seed=seed, config=drops_config)).outputs["raws"]
        taken = titled("Take it in", retrain_take_in(store=store, seed=seed, config=intake_config, raws=raws))
        dataset = taken.outputs["dataset"]
        decided = retrain_decide(store=store, seed=seed, config=decide_config, dataset=dataset)
        mode = titled("Anything new?", decided).output

        with dsl.If(mode == "adapt", name="adapt"):
            base = titled("The released policy", retrain_base(store=store, seed=seed, config=decide_config))
            adapt(dataset, base.outputs["model"], base.outputs["codec"])

        with dsl.If(mode == "full", name="full"):
            full(dataset)


@dsl.pipeline(name="retrain", display_name="Recurring retrain", description=__doc__)
def retrain(
    store: str,
    seed: int,
    drops_config: str,
    intake_config: str,
    decide_config: str,
    notify_config: str,
    frames_config: str,
    codec_config: str,
    stage1_config: str,
    stage2_config: str,
    pretrain_config: str,
    adapt_config: str,
    specialize_config: str,
    from_scratch_config: str,
    evaluate_expert_config: str,
    evaluate_mean_action_config: str,
    evaluate_policy_config: str,
    evaluate_from_scratch_config: str,
    gate_config: str,
    publish_config: str,
    check_config: str,
    candidate_config: str,
) -> None:
    release = {
        "gate_config": gate_config,
        "publish_config": publish_config,
        "check_config": check_config,
        "candidate_config": candidate_config,
    }

    def adapt(dataset: Any, model: Any, codec: Any) -> None:
        frames = titled("Frames", ge_base_frames(store=store, seed=seed, config=frames_config, dataset=dataset)).output
        common = {"store": store, "seed": seed, "frames": frames, "codec": codec}
        adapted = titled("Video adaptation", ge_act_adapt(config=adapt_config, video=model, **common)).output
        policy = ge_act_specialize(config=specialize_config, dataset=dataset, video=adapted, expert=model, **common)
        titled("Action specialization", policy)
        mean_action = titled("Arm: mean action", ge_act_evaluate(config=evaluate_mean_action_config, **common)).output
        evaluation = ge_act_evaluate(config=evaluate_policy_config, policy=policy.output, **common)
        titled("Arm: the adapted policy", evaluation)
        made = {"model": policy.output, "evaluation": evaluation.output, "mean_action": mean_action}
        policy_release.pipeline_func(**made, **common, **release)

    def full(dataset: Any) -> None:
        world = ge_base.pipeline_func(store, seed, dataset, frames_config, codec_config, stage1_config, stage2_config)
        common = {"store": store, "seed": seed, "frames": world.frames, "codec": world.codec}
        made = ge_act.pipeline_func(
            dataset=dataset, video=world.video, pretrain_config=pretrain_config, adapt_config=adapt_config,
            specialize_config=specialize_config, from_scratch_config=from_scratch_config,
            evaluate_expert_config=evaluate_expert_config, evaluate_mean_action_config=evaluate_mean_action_config,
            evaluate_policy_config=evaluate_policy_config, evaluate_from_scratch_config=evaluate_from_scratch_config,
            **common,
        )  # fmt: skip
        policy_release.pipeline_func(**made._asdict(), **common, **release)

    recurring(store, seed, drops_config, intake_config, decide_config, notify_config, adapt, full)
