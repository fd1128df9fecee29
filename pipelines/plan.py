"""What a run would take, before anything is spent: of every stage its hours, its share of a cluster, its bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf.json_format import MessageToDict

from components.launcher.train import PLACEMENT
from components.store.api import Store
from components.store.cost import SHARE
from components.store.errors import OrreryError
from components.store.records import load_record
from data_contracts.cost import Hours, Share
from data_contracts.lineage import StageStatus
from pipelines import kfp_local
from pipelines.catalog import Pipeline
from pipelines.compiler import placed
from pipelines.earlier import declared, earlier_stages, runs_of
from pipelines.recipes.base import Recipe


@dataclass(frozen=True, slots=True)
class Planned:
    """A stage as it would run. `known` tells where `seconds` come from; what nobody has measured or said is None."""

    title: str
    seconds: float | None
    known: Literal["measured", "recipe", ""]
    share: Share
    nodes: int
    """pods of its TrainJob; 0: it works in its own step"""
    memory: str
    """of its step, as a Kubernetes quantity; a TrainJob's pods ask for their own"""
    written_bytes: int | None
    """what it published when it last ran"""

    @property
    def hours(self) -> Hours:
        return Hours.of(self.share, self.seconds or 0.0)

    def document(self) -> dict[str, object]:
        return {
            "stage": self.title, "seconds": self.seconds, "known": self.known, "cpus": self.share.cpus,
            "gpus": self.share.gpus, "nodes": self.nodes, "memory": self.memory, "bytes": self.written_bytes,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """A run as it would go, stage after stage, and what is wrong with it."""

    stages: Sequence[Planned]
    instead: Sequence[str]
    """stages that a run goes through instead of dearer ones of these"""
    overspent: Sequence[str]
    """one sentence for each budget that it would exceed"""

    @property
    def seconds(self) -> float:
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def hours(self) -> Hours:
        return sum((stage.hours for stage in self.stages), Hours())

    @property
    def unknown(self) -> int:
        """Stages of which nobody knows how long they take."""
        return sum(stage.seconds is None for stage in self.stages)


def plan_of(store: Store, pipeline: Pipeline, recipe: Recipe) -> Plan:
    """The plan of one pipeline: from what earlier runs of the recipe took in this store, else from what it says itself.

    Stages that would be found in the store cost nothing; which they are is known only once those before them have run.
    """
    made = placed(pipeline.load(), recipe)
    titles = {task: title for task, title in kfp_local.tasks(made).items() if recipe.plans(title)}
    before = earlier_stages(runs_of(store, recipe))
    said = declared(recipe, titles)
    spec = MessageToDict(made.pipeline_spec)
    containers = _containers(spec)
    found: dict[str, Planned] = {}
    for task, title in titles.items():
        container, stage = containers[task], before.get(f"{pipeline.name}/{task}")
        environment = {e["name"]: e.get("value", "") for e in container["env"]}
        measured, written = _measured(store, stage) if stage else (None, None)
        seconds = said.get(task) if measured is None else measured
        found[task] = Planned(
            title=title,
            seconds=seconds,
            known="measured" if measured is not None else "recipe" if seconds is not None else "",
            share=Share.model_validate_json(environment[SHARE]),
            nodes=json.loads(environment.get(PLACEMENT, "{}")).get("nodes", 0),
            memory=container["resources"]["resourceMemoryLimit"],
            written_bytes=written,
        )
    way = _dearest_way(spec, found)
    stages = [stage for task, stage in found.items() if task in way]
    return Plan(stages, tuple(s.title for task, s in found.items() if task not in way), _overspent(stages, recipe))


def _dearest_way(spec: Mapping[str, Any], stages: Mapping[str, Planned]) -> set[str]:
    """The tasks that a run goes through at most: of branches that compare one value, as `retrain`'s, it takes one."""

    def hours(tasks: Sequence[str]) -> tuple[float, float]:
        needed = sum((stages[task].hours for task in tasks), Hours())
        return needed.gpu_hours, needed.cpu_hours

    def walk(graph: Mapping[str, Any]) -> list[str]:
        always: list[str] = []
        branches: dict[str, list[list[str]]] = {}
        for name, task in graph["dag"]["tasks"].items():
            component = spec["components"][task["componentRef"]["name"]]
            inside = walk(component) if "dag" in component else [name] if name in stages else []
            value, compared, _ = task.get("triggerPolicy", {}).get("condition", "").partition(" == ")
            if compared:
                branches.setdefault(value, []).append(inside)
            else:
                always += inside
        return always + [task for ways in branches.values() for task in max(ways, key=hours)]

    return set(walk(spec["root"]))


def _containers(spec: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What each task of a compiled pipeline asks of its pod, by the task's name, whichever graph it stands in."""
    components, executors = spec["components"], spec["deploymentSpec"]["executors"]
    graphs = [spec["root"], *components.values()]
    return {
        name: executors[component["executorLabel"]]["container"]
        for graph in graphs
        for name, task in graph.get("dag", {}).get("tasks", {}).items()
        if "executorLabel" in (component := components[task["componentRef"]["name"]])
    }


def _measured(store: Store, stage: StageStatus) -> tuple[float, int | None]:
    """Seconds and bytes of the work that made what a stage made or found; without its record the bytes are unknown."""
    try:
        record = load_record(store, stage.prefix)
    except OrreryError:
        return stage.seconds, None
    seconds = stage.seconds if stage.status == "succeeded" else record.seconds
    return seconds, sum(o.size for o in record.objects if not o.key)


def _overspent(stages: Iterable[Planned], recipe: Recipe) -> list[str]:
    budget, used = recipe.budget(), sum((stage.hours for stage in stages), Hours())
    pairs = (("gpu", used.gpu_hours, budget.gpu_hours), ("cpu", used.cpu_hours, budget.cpu_hours))
    return [
        f"it would take {needed:.3g} {kind.upper()}-hours, and cluster.budget_{kind}_hours is {most:g}; raise it, or "
        "make the recipe smaller"
        for kind, needed, most in pairs
        if most is not None and needed > most
    ]
