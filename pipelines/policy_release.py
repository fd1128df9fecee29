"""Policies out: a gate that can't be skipped, the published bundle, a real server's answers, the candidate channel."""

from typing import NamedTuple

from kfp import dsl

from components.release.component import release_candidate, release_check, release_gate, release_publish
from pipelines.dag import titled


class Release(NamedTuple):
    policy: str


@dsl.pipeline(name="policy-release", display_name="Policy release", description=__doc__)
def policy_release(
    store: str,
    seed: int,
    model: str,
    codec: str,
    frames: str,
    evaluation: str,
    mean_action: str,
    gate_config: str,
    publish_config: str,
    check_config: str,
    candidate_config: str,
) -> Release:
    gate = release_gate(
        store=store, seed=seed, config=gate_config, model=model, codec=codec, frames=frames,
        evaluation=evaluation, mean_action=mean_action,
    )  # fmt: skip
    published = release_publish(
        store=store, seed=seed, config=publish_config, model=model, codec=codec, frames=frames,
        evaluation=evaluation, gate=gate.output,
    )  # fmt: skip
    check = release_check(store=store, seed=seed, config=check_config, published=published.output)
    candidate = release_candidate(
        store=store, seed=seed, config=candidate_config, published=published.output, check=check.output
    )
    titled("Gate", gate)
    titled("Publish the bundle", published)
    titled("Ask the real server", check)
    titled("Make it the candidate", candidate)
    return Release(policy=published.output)
