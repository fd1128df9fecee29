"""KFP shells of a recurring retrain."""

from typing import NamedTuple

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("data"), install_kfp_package=False)
def retrain_adopt(store: str, config: str, seed: int) -> NamedTuple("Adopted", [("raws", list)]):  # type: ignore[valid-type]
    """Adopt the drops that have arrived; those adopted before are found again."""
    from components.retrain.stages import adopt_all
    from components.store.shell import ask

    return ask(adopt_all, store=store, config=config, seed=seed)


@dsl.component(base_image=image("data"), install_kfp_package=False)
def retrain_take_in(store: str, config: str, seed: int, raws: list) -> NamedTuple(  # type: ignore[valid-type]
    "Taken", [("dataset", str)]
):
    """Join to the dataset every drop that it lacks; its last version."""
    from components.retrain.stages import take_in
    from components.store.shell import ask

    return ask(take_in, store=store, config=config, seed=seed, raws=raws)


@dsl.component(base_image=image("data"), install_kfp_package=False)
def retrain_decide(store: str, config: str, seed: int, dataset: str) -> str:
    """Decide whether there is something to train on: `skip`, `adapt` or `full`.

    Its only output, as kfp.local resolves no other in a condition.
    """
    from components.retrain.stages import decide
    from components.store.shell import ask

    return ask(decide, store=store, config=config, seed=seed, dataset=dataset)[0]


@dsl.component(base_image=image("data"), install_kfp_package=False)
def retrain_base(store: str, config: str, seed: int) -> NamedTuple(  # type: ignore[valid-type]
    "Base", [("model", str), ("codec", str)]
):
    """Find what the released policy was made of, to adapt it."""
    from components.retrain.stages import base
    from components.store.shell import ask

    return ask(base, store=store, config=config, seed=seed)


@dsl.component(base_image=image("data"), install_kfp_package=False)
def retrain_notify(store: str, config: str, seed: int, status: dsl.PipelineTaskFinalStatus) -> None:
    """Tell how the run ended, in the store and to a webhook; whatever fails here fails nothing."""
    from components.retrain.stages import notify
    from components.store.shell import ask

    ask(notify, store=store, config=config, seed=seed, state=status.state)
