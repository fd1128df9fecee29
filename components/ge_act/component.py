"""KFP shells of the GE-Act stages."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def ge_act_pretrain(store: str, config: str, seed: int, dataset: str, frames: str, codec: str, video: str) -> str:
    """GE-Act phase 1: action pretraining on frozen GE-Base features."""
    from components.ge_act.stages import pretrain
    from components.store.shell import call

    return call(
        pretrain, store=store, config=config, seed=seed, dataset=dataset, frames=frames, codec=codec, video=video
    )


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def ge_act_adapt(store: str, config: str, seed: int, frames: str, codec: str, video: str) -> str:
    """GE-Act phase 2: video adaptation on the task's data."""
    from components.ge_act.stages import adapt
    from components.store.shell import call

    return call(adapt, store=store, config=config, seed=seed, frames=frames, codec=codec, video=video)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def ge_act_specialize(
    store: str, config: str, seed: int, dataset: str, frames: str, codec: str, video: str, expert: str
) -> str:
    """GE-Act phase 3: action specialization, everything trained on actions."""
    from components.ge_act.stages import specialize
    from components.store.shell import call

    return call(
        specialize,
        store=store,
        config=config,
        seed=seed,
        dataset=dataset,
        frames=frames,
        codec=codec,
        video=video,
        expert=expert,
    )


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def ge_act_from_scratch(store: str, config: str, seed: int, dataset: str, frames: str, codec: str) -> str:
    """Control arm: the same network without GE-Base's pretraining."""
    from components.ge_act.stages import from_scratch
    from components.store.shell import call

    return call(from_scratch, store=store, config=config, seed=seed, dataset=dataset, frames=frames, codec=codec)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def ge_act_evaluate(store: str, config: str, seed: int, frames: str, codec: str, policy: str = "") -> str:
    """Closed-loop evaluation of one arm in simulation."""
    from components.ge_act.stages import evaluate
    from components.store.shell import call

    return call(evaluate, store=store, config=config, seed=seed, frames=frames, codec=codec, policy=policy)
