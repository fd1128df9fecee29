"""Run pipelines on this machine: the same KFP code as on a cluster, with progress, clear failures, a report."""

from __future__ import annotations

import contextlib
import glob
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pydantic import ValidationError

from components.store.api import Store
from components.store.cost import BUDGET
from components.store.errors import ConfigurationError, NotFound, OrreryError
from components.store.records import load_record, read_reference
from components.store.records import reference as record_reference
from components.store.status import run_key
from data_contracts.base import Contract, canonical_json
from data_contracts.lineage import RecordRef, StageStatus
from pipelines import kfp_local, runs
from pipelines.catalog import Pipeline
from pipelines.display import Display
from pipelines.earlier import forecast_of
from pipelines.effective import differences
from pipelines.estimate import roughly

if TYPE_CHECKING:
    from pipelines.recipes import Recipe

EXIT_CODES = (1, 2, 3)
DEVICES = ("/dev/nvidia[0-9]*", "/dev/kfd")
"""Where an accelerator of this machine shows itself, to a process that may use it."""


class StageFailed(OrreryError):
    """A stage of a run failed; the message is the stage's own, and so is the exit code."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: its record, its report, what its pipelines handed on, and what to do next."""

    run: runs.Run
    report: Path
    outputs: Mapping[str, str]
    next_steps: Sequence[str] = ()


def run(
    pipelines: Sequence[Pipeline],
    recipe: Recipe,
    store: Store,
    given: Mapping[str, str] | None = None,
) -> Outcome:
    """Run `pipelines` one after another as one run; each takes what those before it hand on, and `given`.

    Raises:
        ConfigurationError: the recipe is made for accelerators that this machine lacks, or names no drop.
        OrreryError: a stage failed; message and exit code are the stage's, and the report is written all the same.
    """
    _require_accelerator(recipe)
    run_id = runs.new_id(recipe.name)
    functions = {pipeline.name: pipeline.load() for pipeline in pipelines}
    arguments(functions[pipelines[0].name], pipelines[0], recipe, store.url, given or {})  # or it is no run at all
    titles = {name: kfp_local.tasks(function) for name, function in functions.items()}
    tasks = {f"{name}/{task}": title for name, part in titles.items() for task, title in part.items()}
    group = runs.GROUP if len(pipelines) > 1 else pipelines[0].name
    planned = {name: [t for t, title in part.items() if recipe.plans(title)] for name, part in titles.items()}
    forecast = forecast_of(store, recipe, group, planned)
    outputs = dict(given or {})
    with runs.alive(run_id), Display(forecast, tasks) as display:
        title = "orrery demo" if group == runs.GROUP else group
        plan = f"{len(forecast.tasks)} stages, about {roughly(forecast.left())}"
        display.say(f"{title} · recipe {recipe.name} · run {run_id} · {plan}")
        try:
            with _Record(store, group, run_id, recipe) if len(pipelines) > 1 else contextlib.nullcontext():
                for pipeline in pipelines:
                    part = _Part(store, pipeline, run_id, recipe, display)
                    outputs |= part.run(functions[pipeline.name], outputs)
        except OrreryError as error:
            path = _report_anyway(store, run_id)
            if path is not None:
                display.say(f"report  {path}")
            raise error
        finished = runs.find(store, run_id)
        from pipelines.report import publish

        return Outcome(finished, publish(store, finished), outputs, _next_steps(store, outputs))


def _require_accelerator(recipe: Recipe) -> None:
    """A recipe for GPUs would start here, take hours and end for want of memory."""
    wanted = recipe.cluster.accelerator
    if wanted and not any(glob.glob(device) for device in DEVICES):
        raise ConfigurationError(
            f"recipe {recipe.name} is made for {wanted}, and this machine has none; submit it with --cluster, choose a "
            "recipe for CPUs, or say --set cluster.accelerator= to try it here all the same"
        )


def inputs(store: Store, pipeline: Pipeline, recipe: Recipe, settings: Sequence[str]) -> dict[str, str]:
    """Record references for a pipeline's inputs: those of `NAME=PREFIX` settings, else the newest run's outputs.

    Raises:
        ConfigurationError: an unknown input, a prefix without a record, or nothing to take an input from.
    """
    chosen: dict[str, str] = {}
    for setting in settings:
        name, _, prefix = setting.partition("=")
        if name not in pipeline.inputs:
            known = ", ".join(pipeline.inputs) or "none"
            raise ConfigurationError(f"{pipeline.name} has no input {name!r}; its inputs are: {known}")
        chosen[name] = reference(store, prefix)
    parts = [part for run in runs.read_all(store) for part in run.parts]
    for name, sources in pipeline.inputs.items():
        if name not in chosen:
            made = [p for p in parts if p.pipeline in sources and p.recipe == recipe.name and name in p.outputs]
            if not made:
                raise ConfigurationError(
                    f"{pipeline.name} needs {name!r}; run `orrery run {sources[0]} --recipe {recipe.name}` first, "
                    f"or name a version: --input {name}=PREFIX"
                )
            chosen[name] = canonical_json(made[0].outputs[name])
    return chosen


def reference(store: Store, prefix: str) -> str:
    """The record reference of the version at `prefix`, as stages take it. Raises ConfigurationError."""
    try:
        record = load_record(store, prefix.strip("/"))
    except NotFound:
        raise ConfigurationError(f"there is no version at {prefix!r} in {store.url}; give KIND/NAME/VERSION") from None
    return canonical_json(record_reference(store, record))


def arguments(
    function: Any, pipeline: Pipeline, recipe: Recipe, store_url: str, given: Mapping[str, str]
) -> dict[str, Any]:
    """The arguments of a KFP pipeline: the store, the seed, its inputs, and each stage's configuration as JSON."""
    made: dict[str, Any] = {}
    configs = recipe.stages()
    for name in function.component_spec.inputs or {}:
        if name == "store":
            made[name] = store_url
        elif name in pipeline.inputs:
            made[name] = given[name]
        else:
            made[name] = recipe.seed if name == "seed" else _config(configs, name.removesuffix("_config"), pipeline)
    return made


def _config(configs: Mapping[str, Contract], name: str, pipeline: Pipeline) -> str:
    if name not in configs:
        raise ConfigurationError(f"{pipeline.name} takes an uploaded drop, but none is named; say --set drop=FOLDER")
    return canonical_json(configs[name])


@dataclass
class _Part:
    """One pipeline of a run, watched while it runs."""

    store: Store
    pipeline: Pipeline
    run_id: str
    recipe: Recipe
    display: Display
    _record: _Record = field(init=False)
    _log: TextIO = field(init=False)
    _asked: dict[str, Any] = field(default_factory=dict)
    _failure: StageFailed | None = None
    _seen: set[str] = field(default_factory=set)

    def run(self, function: Any, given: Mapping[str, str]) -> dict[str, str]:
        with _Record(self.store, self.pipeline.name, self.run_id, self.recipe) as self._record:
            values = arguments(function, self.pipeline, self.recipe, self.store.url, given)
            environment = {"ORRERY_PIPELINE": self.pipeline.name, "ORRERY_RUN": self.run_id}
            environment[BUDGET] = canonical_json(self.recipe.budget())
            made = kfp_local.run(function, values, environment, self._start, self._line, self._end)
            if self._failure is not None:
                raise self._failure
            self._record.outputs = {name: RecordRef.model_validate_json(value) for name, value in made.items()}
            return made

    def _key(self, task: str) -> str:
        return f"{self.pipeline.name}/{task}"

    def _start(self, task: str, parameters: Mapping[str, Any]) -> None:
        self._asked = json.loads(parameters.get("config", "{}"))
        folder = runs.home() / "logs" / self.run_id
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / f"{self.pipeline.name}.{task}.log").open("a", encoding="utf-8")
        self.display.begin(self._key(task))

    def _line(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk is the stage's to report
            self._log.write(text + "\n")
            self._log.flush()
        self.display.line(text)

    def _end(self, task: str, code: int) -> None:
        self._log.close()
        fresh = self._fresh_statuses()
        if code == 0:
            status = fresh[-1] if fresh else StageStatus(name=task, task=task, status="succeeded")
            self.display.finish(self._key(task), status)
            for difference in self._not_as_asked(status):
                self.display.say(f"warning: {status.name} did not use its configuration as asked: {difference}")
        else:
            self.display.fail()
            status = self._failed(task, code, fresh)
            self._failure = StageFailed(f"{status.name}: {status.message}", code if code in EXIT_CODES else 1)
        self._record.ended(status.name)

    def _not_as_asked(self, status: StageStatus) -> list[str]:
        """Where the recorded effective configuration differs from what was asked for, if it is one of the same kind."""
        try:
            record = load_record(self.store, status.prefix)
            return differences(self._asked, record) if record.config.keys() == self._asked.keys() else []
        except OrreryError:
            return []

    def _failed(self, task: str, code: int, fresh: Sequence[StageStatus]) -> StageStatus:
        """The failed stage's status, written if the stage could not write it itself."""
        told = [s for s in fresh if s.status == "failed" and s.message]
        if told:
            return told[-1]
        begun = [s for s in fresh if s.status == "running"]
        status = begun[-1] if begun else StageStatus(name=task, task=task, status="running", started_at=runs.now())
        message = last_word(self.display.recent(), code, self._log.name)
        ending = {"status": "failed", "message": message, "seconds": round(self.display.elapsed(), 3)}
        status = status.model_copy(update=ending)
        with contextlib.suppress(OrreryError):
            runs.write_stage(self.store, self.pipeline.name, self.run_id, status)
        return status

    def _fresh_statuses(self) -> list[StageStatus]:
        """Statuses written since the last task ended."""
        found: list[StageStatus] = []
        with contextlib.suppress(OrreryError):
            for stat in self.store.list(run_key(self.pipeline.name, self.run_id, "stages/")):
                if stat.key not in self._seen:
                    with contextlib.suppress(ValidationError, NotFound):
                        found.append(StageStatus.model_validate_json(self.store.read(stat.key)))
                        self._seen.add(stat.key)
        return sorted(found, key=lambda s: s.started_at)


class _Record:
    """A run's record in the store: running from `with` on, then succeeded or failed."""

    def __init__(self, store: Store, pipeline: str, run_id: str, recipe: Recipe):
        self._store, self._started = store, time.monotonic()
        self._record = runs.begun(run_id, pipeline, recipe)
        self.outputs: dict[str, RecordRef] = {}

    def ended(self, stage: str) -> None:
        """A stage ended, well or not."""
        self._write(stages=(*self._record.stages, stage))

    def __enter__(self) -> _Record:
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._write(status="succeeded")
            return
        message = runs.INTERRUPTED
        if isinstance(error, Exception):
            message = str(error) if isinstance(error, OrreryError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(OrreryError):  # the first error is the one to tell
            self._write(status="failed", message=message)

    def _write(self, **changes: object) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        self._record = self._record.model_copy(update={"seconds": seconds, "outputs": self.outputs, **changes})
        runs.write(self._store, self._record)


def last_word(lines: Sequence[str], code: int, log: str) -> str:
    """Why a stage failed that left no status: its own error line, or what can be told from outside."""
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if told:
        return told[-1]
    if code in (-9, 137):
        return f"it was killed, most likely for want of memory; its output is in {log}"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{last or f'it ended with exit code {code}'}; its output is in {log}"


def _report_anyway(store: Store, run_id: str) -> Path | None:
    """The report of a run that failed; if that fails too, the first error is the one that matters."""
    from pipelines.report import publish

    with contextlib.suppress(Exception):
        return publish(store, runs.find(store, run_id))
    return None


def _next_steps(store: Store, outputs: Mapping[str, str]) -> list[str]:
    """How to call what the run published."""
    if "policy" not in outputs:
        return []
    record = read_reference(store, outputs["policy"])
    return [f"serve   orrery serve {record.name}@{record.version}", f"        ({record.prefix})"]
