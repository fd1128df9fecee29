"""KFP shells of the intake."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def agibot_adopt(store: str, config: str, seed: int) -> str:
    """Adopt a raw drop that was uploaded already: hash it and give it a version."""
    from components.agibot.stages import adopt
    from components.store.shell import call

    return call(adopt, store=store, config=config, seed=seed)


@dsl.component(base_image=image("data"), install_kfp_package=False)
def agibot_intake(store: str, config: str, seed: int, raw: str) -> str:
    """Intake: validate a raw drop, quarantine what is bad, publish the rest as a dataset version."""
    from components.agibot.stages import intake
    from components.store.shell import call

    return call(intake, store=store, config=config, seed=seed, raw=raw)
