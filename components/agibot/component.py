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


@dsl.component(base_image=image("data"), install_kfp_package=False)
def agibot_plan(store: str, config: str, seed: int, raw: str) -> list:
    """Plan: find what of a raw drop its dataset lacks, and divide that into shards."""
    from components.agibot.stages import plan_shards
    from components.store.shell import ask

    return list(ask(plan_shards, store=store, config=config, seed=seed, raw=raw))


@dsl.component(base_image=image("data"), install_kfp_package=False)
def agibot_examine(store: str, config: str, seed: int, shard: str) -> str:
    """Examine one shard: validate its episodes, quarantine what is bad, make the rest ready to be joined."""
    from components.agibot.stages import examine_planned
    from components.store.shell import call

    return call(examine_planned, store=store, config=config, seed=seed, shard=shard)


@dsl.component(base_image=image("data"), install_kfp_package=False)
def agibot_join(store: str, config: str, seed: int, raw: str, parts: list) -> str:
    """Join a drop's shards to the dataset: publish its next version."""
    from components.agibot.stages import join
    from components.store.shell import call

    return call(join, store=store, config=config, seed=seed, raw=raw, parts=parts)
