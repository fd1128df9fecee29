"""Records drops: experts in simulation, on all cores, resumed after a kill.

An episode is a function of (configuration, seed, number): not of the worker that records it, nor of what was recorded
before, nor of how often the recording was killed and started again.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pydantic import ValidationError

from components.robots.config import MOST_EPISODES, RecordConfig, task_id
from components.robots.env import Env
from components.robots.episode import EpisodePlan, record_episode
from components.robots.raw_layout import ActionSpan, EpisodeLabels, link_tree, pack_tars, write_task_info
from components.store.errors import OrreryError
from components.store.shell import die_with_parent
from data_contracts.base import Contract
from data_contracts.embodiment import load_embodiment
from data_contracts.lineage import Metric

EPISODE_DEADLINE_SECONDS = 900.0
"""If no worker finishes an episode for so long, something hangs."""
OUTCOME = "outcome.json"


class Outcome(Contract):
    """What came of one planned episode: `outcome.json` beside its files in the scratch folder."""

    task: str
    level: int
    task_id: int
    episode_id: int
    attempts: int
    success: bool
    noisy: bool
    core_seconds: float
    frames: int = 0
    task_name: str = ""
    init_scene_text: str = ""
    spans: tuple[tuple[int, int, str, str], ...] = ()

    @property
    def labels(self) -> EpisodeLabels:
        spans = tuple(ActionSpan(*span) for span in self.spans)
        return EpisodeLabels(self.task_id, self.episode_id, self.task_name, self.init_scene_text, spans)


def plan_drop(config: RecordConfig, seed: int) -> list[EpisodePlan]:
    """All episodes of a drop. Ids and scenes depend on the seed; drops of different seeds rarely share any."""
    draw = hashlib.sha256(f"{config.name}/{seed}".encode()).digest()
    first_id = MOST_EPISODES * (1 + int.from_bytes(draw[:4], "big") % 9_000)
    span = config.last_seed - config.first_seed + 1
    offset = int.from_bytes(draw[4:12], "big") % span
    plans: list[EpisodePlan] = []
    for task, level, episodes in config.plans:
        for i in range(episodes):
            number = len(plans)
            start = offset + number * config.attempts
            noisy = int((i + 1) * config.noise_share) > int(i * config.noise_share)
            plans.append(
                EpisodePlan(
                    number=number, task=task, level=level, task_id=task_id(task, level), episode_id=first_id + number,
                    seeds=tuple(config.first_seed + (start + a) % span for a in range(config.attempts)),
                    noise=config.noise_m if noisy else 0.0,
                )
            )  # fmt: skip
    return plans


# One worker


class _Worker:
    """One process: one simulation and one renderer at a time, kept as long as episodes are of the same task."""

    def __init__(self, config: RecordConfig, scratch: Path) -> None:
        self._config, self._scratch = config, scratch
        self._env: Env | None = None
        self._made_for: tuple[str, int] | None = None

    def record(self, plan: EpisodePlan) -> Outcome:
        """Record one episode; its folder in the scratch is then complete, or was never there."""
        part = self._scratch / "parts" / str(plan.episode_id)
        started, env = time.process_time(), self._simulation(plan.task, plan.level)
        data, attempts = None, 0
        for seed in plan.seeds:
            attempts += 1
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            data = record_episode(env, seed, plan, part / "drop", self._config.all_cameras, self._config.depth)
            if data is not None:
                break
        outcome = Outcome(
            task=plan.task, level=plan.level, task_id=plan.task_id, episode_id=plan.episode_id, attempts=attempts,
            success=data is not None, noisy=plan.noise > 0, core_seconds=time.process_time() - started,
        )  # fmt: skip
        if data is None:
            shutil.rmtree(part / "drop", ignore_errors=True)
        else:
            labels = data.labels
            spans = tuple((s.start_frame, s.end_frame, s.action_text, s.skill) for s in labels.spans)
            text = {"task_name": labels.task_name, "init_scene_text": labels.init_scene_text}
            outcome = outcome.model_copy(update={**text, "frames": len(data.timestamps), "spans": spans})
        (part / OUTCOME).write_text(outcome.model_dump_json())
        final = _folder(self._scratch, plan)
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, final)
        return outcome

    def _simulation(self, task: str, level: int) -> Env:
        if self._env is None or self._made_for != (task, level):
            if self._env is not None:
                self._env.close()
            self._env, self._made_for = Env(self._config.embodiment, task, level), (task, level)
            fit_buffer(self._env, self._config.all_cameras)
        return self._env


def fit_buffer(env: Env, cameras: Sequence[str]) -> None:
    """Make the offscreen buffer no larger than the largest image of `cameras`, before the first of them is rendered.

    Clearing pixels that are never read costs a sixth of a frame in software.
    """
    wanted = [c for c in env.embodiment.cameras if c.name in cameras]
    env.model.vis.global_.offwidth = max(c.width for c in wanted)
    env.model.vis.global_.offheight = max(c.height for c in wanted)


_worker: _Worker | None = None


def _start_worker(config: RecordConfig, scratch: Path) -> None:
    global _worker
    die_with_parent()
    os.environ.setdefault("LP_NUM_THREADS", "0")  # Mesa's rasteriser: one worker per core needs no threads of its own
    _worker = _Worker(config, scratch)


def _record_one(plan: EpisodePlan) -> Outcome:
    assert _worker is not None
    try:
        return _worker.record(plan)
    except OSError as error:  # PyAV's own kinds of it do not survive the way back to the parent
        raise OSError(error.errno, error.strerror or str(error), error.filename) from None


# A drop


def record_drop(
    config: RecordConfig,
    seed: int,
    out: Path,
    scratch: Path,
    workers: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Metric]:
    """Record a whole drop into `out`, with one process per core. Returns its metrics.

    Episodes gather in `scratch`; those that are complete there are not recorded again, and `advance(1)` is called for
    each of the others. Only episodes in which the expert succeeded enter the drop.

    Raises:
        OrreryError: the expert never succeeded, or a recording process died or hangs.
    """
    shutil.rmtree(scratch / "parts", ignore_errors=True)
    advance = advance or (lambda n: None)
    plans = plan_drop(config, seed)
    outcomes = {plan.number: found for plan in plans if (found := _found(scratch, plan)) is not None}
    missing = [plan for plan in plans if plan.number not in outcomes]
    if missing:
        for number, outcome in _record_all(config, scratch, missing, min(workers or usable_cores(), len(missing))):
            outcomes[number] = outcome
            advance(1)
    ordered = [outcomes[plan.number] for plan in plans]
    if not any(outcome.success for outcome in ordered):
        tried = sum(outcome.attempts for outcome in ordered)
        raise OrreryError(
            f"recording: the expert succeeded in none of {tried} scenes of {_task_list(config)}, so there is nothing "
            "to publish; take other tasks or levels, or less noise (noise_m)"
        )
    _assemble(config, [o for o in ordered if o.success], scratch, out)
    return _metrics(ordered, config.embodiment)


def completed(config: RecordConfig, seed: int, scratch: Path) -> int:
    """How many of the drop's episodes an earlier start left complete in `scratch`."""
    return sum(_found(scratch, plan) is not None for plan in plan_drop(config, seed))


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _task_list(config: RecordConfig) -> str:
    return ", ".join(f"{task} at level {level}" for task, level, _ in config.plans)


def _folder(scratch: Path, plan: EpisodePlan | Outcome) -> Path:
    return scratch / "episodes" / str(plan.episode_id)


def _found(scratch: Path, plan: EpisodePlan) -> Outcome | None:
    """The outcome of an episode that an earlier start completed."""
    folder = _folder(scratch, plan)
    try:
        return Outcome.model_validate_json((folder / OUTCOME).read_bytes())
    except (FileNotFoundError, ValidationError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _record_all(
    config: RecordConfig, scratch: Path, plans: list[EpisodePlan], workers: int
) -> Iterator[tuple[int, Outcome]]:
    """(number, outcome) of every plan as they are done. Tasks stay together, so that workers build few simulations."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (config, scratch))
    try:
        waiting: dict[Future[Outcome], int] = {pool.submit(_record_one, plan): plan.number for plan in plans}
        while waiting:
            done, _ = wait(waiting, EPISODE_DEADLINE_SECONDS, FIRST_COMPLETED)
            if not done:
                raise OrreryError(
                    f"recording: no episode was finished for {EPISODE_DEADLINE_SECONDS:.0f} s; see whether this "
                    "machine is overloaded, then start again (finished episodes are kept)"
                )
            for future in done:
                yield waiting.pop(future), future.result()
    except BaseException as error:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise OrreryError(
                "recording: a recording process was killed, most likely for want of memory; free some, then start "
                "again (finished episodes are kept)"
            ) from error
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _assemble(config: RecordConfig, kept: Sequence[Outcome], scratch: Path, out: Path) -> None:
    """Put the episodes together as one drop. The scratch keeps its own links until the version is published."""
    folders = out if config.layout == "folders" else scratch / "folders"
    if folders != out:
        shutil.rmtree(folders, ignore_errors=True)
    for outcome in kept:
        link_tree(_folder(scratch, outcome) / "drop", folders)
    write_task_info(folders, [outcome.labels for outcome in kept])
    if folders != out:
        pack_tars(folders, out, config.episodes_per_tar)
        shutil.rmtree(folders)


def _metrics(outcomes: Sequence[Outcome], embodiment: str) -> dict[str, Metric]:
    """Figures of a drop. `expert_success_rate` counts every scene that was tried; dropped ones do not hide in it."""
    kept = [o for o in outcomes if o.success]
    frames = sum(o.frames for o in kept)
    rates: dict[str, Metric] = {}
    for name in sorted({f"{o.task}-{o.level}" for o in outcomes}):
        own = [o for o in outcomes if f"{o.task}-{o.level}" == name]
        rates[f"expert_success_rate/{name}"] = sum(o.success for o in own) / sum(o.attempts for o in own)
    fps = load_embodiment(embodiment).fps
    return {
        "episodes": len(kept),
        "episodes_given_up": len(outcomes) - len(kept),
        "episodes_disturbed": sum(o.noisy for o in kept),
        "scenes_tried": sum(o.attempts for o in outcomes),
        "scenes_failed": sum(o.attempts - o.success for o in outcomes),
        "expert_success_rate": len(kept) / sum(o.attempts for o in outcomes),
        **rates,
        "frames": frames,
        "seconds_of_data": frames / fps,
        "realtime_factor_per_core": frames / fps / max(sum(o.core_seconds for o in outcomes), 1e-9),
    }
