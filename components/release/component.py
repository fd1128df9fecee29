"""The release stages as KFP components. Shells only: strings in, one call of the library, a string out."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def release_gate(
    store: str, config: str, seed: int, model: str, codec: str, frames: str, evaluation: str, mean_action: str
) -> str:
    """Decide whether a trained policy may be published; a refusal is a result that says why."""
    from components.release.stages import gate
    from components.store.shell import call

    return call(
        gate, store=store, config=config, seed=seed, model=model, codec=codec, frames=frames, evaluation=evaluation,
        mean_action=mean_action,
    )  # fmt: skip


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def release_publish(
    store: str, config: str, seed: int, model: str, codec: str, frames: str, evaluation: str, gate: str
) -> str:
    """Publish a policy whose gate passed: bundle, weights, codec, card, Triton repository."""
    from components.release.stages import publish
    from components.store.shell import call

    return call(
        publish, store=store, config=config, seed=seed, model=model, codec=codec, frames=frames, evaluation=evaluation,
        gate=gate,
    )  # fmt: skip


@dsl.component(base_image=image("serving"), install_kfp_package=False)
def release_check(store: str, config: str, seed: int, published: str) -> str:
    """Serve the published policy with a real Triton server and compare its actions with the policy's in process."""
    from components.release.stages import check
    from components.store.shell import call

    return call(check, store=store, config=config, seed=seed, published=published)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def release_candidate(store: str, config: str, seed: int, published: str, check: str) -> str:
    """Let the channel `candidate` name the published and checked version."""
    from components.release.stages import candidate
    from components.store.shell import call

    return call(candidate, store=store, config=config, seed=seed, published=published, check=check)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def release_language_gate(store: str, config: str, seed: int, model: str, evaluation: str, base: str) -> str:
    """Decide whether a language model may be published; a refusal is a result that says why."""
    from components.release.stages import language_gate
    from components.store.shell import call

    return call(language_gate, store=store, config=config, seed=seed, model=model, evaluation=evaluation, base=base)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def release_language_publish(store: str, config: str, seed: int, model: str, evaluation: str, gate: str) -> str:
    """Publish a language model whose gate passed, with bundle and card, and make it the candidate."""
    from components.release.stages import language_publish
    from components.store.shell import call

    return call(language_publish, store=store, config=config, seed=seed, model=model, evaluation=evaluation, gate=gate)
