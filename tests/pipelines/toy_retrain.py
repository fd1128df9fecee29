"""A recurring retrain whose training is a toy: the real stages and the real control flow around it."""

from typing import Any

from kfp import dsl

from pipelines.retrain import recurring


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def toy_adapt(store: str, config: str, seed: int, dataset: str, model: str) -> str:
    from toy_policy import train

    from components.store.shell import call

    return call(train, store=store, config=config, seed=seed, dataset=dataset, model=model)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def toy_full(store: str, config: str, seed: int, dataset: str) -> str:
    from toy_policy import train

    from components.store.shell import call

    return call(train, store=store, config=config, seed=seed, dataset=dataset, model="")


@dsl.pipeline(name="toy-retrain")
def toy_retrain(
    store: str,
    seed: int,
    drops_config: str,
    intake_config: str,
    decide_config: str,
    notify_config: str,
    train_config: str,
) -> None:
    def adapt(dataset: Any, model: Any, codec: Any) -> None:
        toy_adapt(store=store, seed=seed, config=train_config, dataset=dataset, model=model)

    def full(dataset: Any) -> None:
        toy_full(store=store, seed=seed, config=train_config, dataset=dataset)

    recurring(store, seed, drops_config, intake_config, decide_config, notify_config, adapt, full)
