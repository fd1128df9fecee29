"""What earlier runs of a recipe tell of the next one: which version each task made, and what it took."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice

from components.store.api import Store
from components.store.errors import OrreryError
from components.store.records import load_record
from data_contracts.base import canonical_json
from data_contracts.lineage import StageStatus
from pipelines import runs
from pipelines.estimate import Forecast
from pipelines.recipes.base import Recipe

RUNS_READ = 8
DONE = ("succeeded", "cached")

Tasks = Mapping[str, Iterable[str]]
"""The tasks of each pipeline."""


def earlier_stages(found: Iterable[runs.Run]) -> dict[str, StageStatus]:
    """How each task (`pipeline/task`) ended well in the newest of the first `RUNS_READ` runs where it did; of a loop's,
    the last to end."""
    before: dict[str, StageStatus] = {}
    for run in islice(found, RUNS_READ):
        ended = {f"{pipeline}/{s.task}": s for pipeline, s in run.stages if s.task and s.status in DONE}
        before = ended | before
    return before


def runs_of(store: Store, recipe: Recipe) -> list[runs.Run]:
    """The runs of recipes of this name, the newest first."""
    return [run for run in runs.read_all(store) if run.head.recipe == recipe.name]


def declared(recipe: Recipe, tasks: Iterable[str]) -> dict[str, float]:
    """Seconds of each task that the recipe's estimates speak of."""
    return {task: seconds for task in tasks for name, seconds in recipe.estimates.items() if runs_stage(task, name)}


def forecast_of(store: Store, recipe: Recipe, group: str, tasks: Tasks) -> Forecast:
    """What the run will take: as earlier runs of the recipe did, else as the recipe says."""
    every = [f"{pipeline}/{task}" for pipeline, names in tasks.items() for task in names]
    found = runs_of(store, recipe)
    before = {key: _work(store, stage) for key, stage in earlier_stages(found).items()}
    config = json.loads(canonical_json(recipe))
    same = any(r.head.pipeline == group and r.head.status == "succeeded" and r.head.config == config for r in found)
    return Forecast(every, before, declared(recipe, every), expect_cached=same)


def _work(store: Store, stage: StageStatus) -> float:
    """Seconds that it took to make what a stage found or made."""
    if stage.status == "succeeded":
        return stage.seconds
    try:
        return load_record(store, stage.prefix).seconds
    except OrreryError:
        return stage.seconds


def runs_stage(task: str, stage: str) -> bool:
    """Whether a task (`ge-act-evaluate-2` or `ge_act/ge-act-evaluate-2`) runs the stage (`ge_act.evaluate`)."""
    task, name = task.rpartition("/")[2], stage.replace(".", "-").replace("_", "-")
    return task == name or (task.startswith(name + "-") and task.removeprefix(name + "-").isdigit())
