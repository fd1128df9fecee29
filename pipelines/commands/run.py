"""`orrery demo`, `orrery run`, `orrery plan` and `orrery compile`: pipelines, here or as KFP YAML."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.common import (
    EndpointOption,
    JsonOption,
    RecipeOption,
    SetOption,
    StoreOption,
    open_store,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from components.store.api import Store
    from pipelines.catalog import Pipeline
    from pipelines.recipes.base import Recipe
    from pipelines.runner import Outcome


def demo(
    recipe: RecipeOption = "tiny",
    settings: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """The whole loop: record, validate, train, evaluate, release. Started again, it goes on where it was.

    Example: orrery demo
    """
    from pipelines.catalog import LOOP
    from pipelines.recipes import recipe as load
    from pipelines.runner import run

    outcome = run(LOOP, load("robots", recipe, settings or ()), open_store(store))
    _print_outcome(outcome, as_json)


def run(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Which; `orrery compile --all` writes them all.")],
    recipe: RecipeOption = "tiny",
    settings: SetOption = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME=PREFIX", help="A version to start from, e.g. --input dataset=datasets/tiny/0123…"
        ),
    ] = None,
    cluster: Annotated[bool, typer.Option("--cluster", help="At Kubeflow Pipelines, and follow it.")] = False,
    endpoint: EndpointOption = None,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="How long to follow a run on a cluster.")] = 24.0,
    follow: Annotated[
        str | None, typer.Option("--follow", metavar="RUN", help="Follow this run on a cluster; start none.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one pipeline here or on a cluster, from the newest outputs of the pipelines before it.

    Example: orrery run ge_act --recipe tiny --set seed=1
    """
    from pipelines import runner
    from pipelines.catalog import find
    from pipelines.recipes import recipe as load

    chosen = find(pipeline)
    built = load(chosen.track, recipe, settings or ())
    if cluster or follow:
        _run_there(chosen, built, inputs or (), endpoint, hours, follow, open_store(store), as_json)
        return
    opened = open_store(store)
    outcome = runner.run([chosen], built, opened, given=runner.inputs(opened, chosen, built, inputs or ()))
    _print_outcome(outcome, as_json)


def _run_there(
    pipeline: Pipeline,
    recipe: Recipe,
    inputs: Sequence[str],
    endpoint: str | None,
    hours: float,
    run_id: str | None,
    store: Store,
    as_json: bool,
) -> None:
    """Start a run at Kubeflow Pipelines, or take up `run_id`; the report is written here whether it succeeds or not."""
    from components.store.errors import OrreryError
    from pipelines import kfp_cluster, runner, runs
    from pipelines.report import publish

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    given = {} if run_id else runner.inputs(store, pipeline, recipe, inputs)
    if run_id is None:
        kfp_cluster.parameters(pipeline, recipe, store.url, given)  # what is wrong here is said first
    client = kfp_cluster.connect(endpoint)
    if run_id is None:
        run_id = kfp_cluster.start(client, pipeline, recipe, store, given)
        say(f"{pipeline.name} · recipe {recipe.name} · run {run_id}")
    try:
        done = kfp_cluster.follow(client, store, pipeline, recipe, run_id, hours * 3600, say)
    except OrreryError:
        with contextlib.suppress(OrreryError):
            say(f"report  {publish(store, runs.find(store, run_id))}")
        raise
    except KeyboardInterrupt:
        raise kfp_cluster.Left(
            f"run {run_id} goes on at Kubeflow Pipelines; follow it again: orrery run {pipeline.name} --follow {run_id}"
        ) from None
    _print_outcome(runner.Outcome(done, publish(store, done), {}), as_json)


def plan(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Which.")],
    recipe: RecipeOption = "tiny",
    settings: SetOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a run would take, before anything is spent: stages, hours, GPUs, memory, bytes. Exit code 1: over budget.

    Example: orrery plan ge_act --recipe bench --set cluster.accelerator=nvidia.com/gpu
    """
    from pipelines.catalog import find
    from pipelines.commands import planned
    from pipelines.plan import plan_of
    from pipelines.recipes import recipe as load

    chosen = find(pipeline)
    made = plan_of(open_store(store), chosen, load(chosen.track, recipe, settings or ()))
    planned.show(made, as_json)
    if made.overspent:
        raise typer.Exit(1)


def compile_(
    pipeline: Annotated[str | None, typer.Argument(metavar="PIPELINE", help="Which one; or --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every pipeline.")] = False,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="The recipe. Default: the first of the pipeline's track.", show_default=False),
    ] = None,
    settings: SetOption = None,
    out: Annotated[Path, typer.Option("--out", help="The folder for the YAML files.")] = Path("build/pipelines"),
    as_json: JsonOption = False,
) -> None:
    """Write pipelines as KFP YAML, and as Kubernetes objects in a folder beside it, with a recipe's values as defaults.

    Example: orrery compile ge_base --recipe bench --set cluster.accelerator=nvidia.com/gpu
    """
    from components.store.errors import ConfigurationError
    from pipelines.catalog import PIPELINES, find
    from pipelines.compiler import compile_to
    from pipelines.recipes import RECIPES
    from pipelines.recipes import recipe as load

    if every == (pipeline is not None):
        raise ConfigurationError(
            "name one pipeline, or say --all; for example: orrery compile --all --out build/pipelines"
        )
    chosen = list(PIPELINES.values()) if every else [find(str(pipeline))]
    written = {}
    for entry in chosen:
        upload, manifest = compile_to(
            entry, load(entry.track, recipe or next(iter(RECIPES[entry.track])), settings or ()), out
        )
        written[entry.name] = {"upload": str(upload), "kubernetes": str(manifest)}
    if as_json:
        print_json({"compiled": written})
    else:
        print_table(("pipeline", "to upload", "to apply"), [(n, *w.values()) for n, w in written.items()], "nothing")


def _print_outcome(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print_json(outcome.run.document() | {"report": str(outcome.report)})
        return
    print(f"report  {outcome.report.resolve().as_uri()}")
    for line in outcome.next_steps:
        print(line)
