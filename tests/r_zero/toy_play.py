"""R-Zero's control flow around iterations that are toys."""

from typing import NamedTuple

from kfp import dsl

from pipelines.r_zero import Iteration, as_long_as_it_helps


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def toy_play(store: str, config: str, seed: int, number: int) -> NamedTuple(  # type: ignore[valid-type]
    "Made", [("model", str), ("scores", str)]
):
    from toy_solver import play

    from components.store.shell import ask

    return ask(play, store=store, config=config, seed=seed, number=number)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def toy_publish(store: str, config: str, seed: int, model: str) -> str:
    from toy_solver import publish

    from components.store.shell import call

    return call(publish, store=store, config=config, seed=seed, model=model)


@dsl.pipeline(name="toy-r-zero")
def toy_r_zero(store: str, seed: int, toy_config: str, select_config: str) -> None:
    toy = {"store": store, "seed": seed, "config": toy_config}

    def played(number: int) -> Iteration:
        made = toy_play(number=number, **toy).outputs
        return Iteration(made["model"], made["model"], made["scores"])

    def end(number: int, best: object) -> None:
        toy_publish(model=best, **toy)

    base = played(0)
    common = {"store": store, "seed": seed, "config": select_config}
    as_long_as_it_helps(common, base.solver, base.scores, lambda number, _, __: played(number), end)
