"""KFP shell of the recorder."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def robots_record(store: str, config: str, seed: int) -> str:
    """Record episodes: scripted experts in simulation, written in the AgiBot-World raw layout."""
    from components.robots.stages import record
    from components.store.shell import call

    return call(record, store=store, config=config, seed=seed)
