"""KFP shells of the GE-Base stages."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def ge_base_frames(store: str, config: str, seed: int, dataset: str) -> str:
    """Training frames: decode a dataset version once, at the network's size."""
    from components.ge_base.stages import frames
    from components.store.shell import call

    return call(frames, store=store, config=config, seed=seed, dataset=dataset)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def ge_base_codec(store: str, config: str, seed: int, frames: str) -> str:
    """Codec: fit the latent transform to the training frames."""
    from components.ge_base.stages import codec
    from components.store.shell import call

    return call(codec, store=store, config=config, seed=seed, frames=frames)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def ge_base_stage1(store: str, config: str, seed: int, frames: str, codec: str) -> str:
    """GE-Base stage 1: multi-rate pretraining, 57 frames at 3-30 Hz."""
    from components.ge_base.stages import stage1
    from components.store.shell import call

    return call(stage1, store=store, config=config, seed=seed, frames=frames, codec=codec)


@dsl.component(base_image=image("trainer"), install_kfp_package=False)
def ge_base_stage2(store: str, config: str, seed: int, frames: str, codec: str, video: str) -> str:
    """GE-Base stage 2: low-frequency pretraining, 9 frames at 5 Hz."""
    from components.ge_base.stages import stage2
    from components.store.shell import call

    return call(stage2, store=store, config=config, seed=seed, frames=frames, codec=codec, video=video)
