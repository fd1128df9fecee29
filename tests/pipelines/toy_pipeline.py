"""A pipeline of two toy stages, in the shape of the real ones."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def toy_first(store: str, config: str, seed: int) -> str:
    from toy_stages import first

    from components.store.shell import call

    return call(first, store=store, config=config, seed=seed)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def toy_second(store: str, config: str, seed: int, source: str) -> str:
    from toy_stages import second

    from components.store.shell import call

    return call(second, store=store, config=config, seed=seed, source=source)


class Made(NamedTuple):
    toy: str


@dsl.pipeline(name="toy")
def toy(store: str, seed: int, first_config: str, second_config: str) -> Made:
    one = toy_first(store=store, seed=seed, config=first_config).set_display_name("First")
    two = toy_second(store=store, seed=seed, config=second_config, source=one.output)
    return Made(toy=two.output)


@dsl.pipeline(name="toy-next")
def toy_next(store: str, seed: int, toy: str, third_config: str) -> Made:
    """Takes what `toy` hands on."""
    return Made(toy=toy_second(store=store, seed=seed, config=third_config, source=toy).output)
