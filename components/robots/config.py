"""What the recorder is asked to do. Cheap to import: recipes and pipelines read it without MuJoCo."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.base import Contract
from data_contracts.embodiment import load_embodiment

TASK_NAMES = ("press", "push", "pick_place", "wipe", "handover")
"""The tasks of `components.robots.tasks`, in an order that never changes: task ids are counted from it."""
FIRST_TASK_ID = 9001
HELD_OUT_SEEDS = 1_000_000
"""Scenes of this seed and above are never recorded: closed-loop evaluation draws from them."""
MOST_EPISODES = 100_000
"""Episode ids of two drops with different seeds lie this far apart."""


def task_id(task: str, level: int) -> int:
    """The id that a task at a level has in every drop, 9001 and up."""
    return FIRST_TASK_ID + 3 * TASK_NAMES.index(task) + level - 1


class TaskPlan(Contract):
    """Episodes of one task at one level, 1 easiest .. 3."""

    task: str
    level: int = Field(default=1, ge=1, le=3)
    episodes: int | None = Field(default=None, ge=0, description="None: as many as RecordConfig.episodes says")


class RecordConfig(Contract):
    """A drop of episodes that scripted experts record in simulation."""

    name: str = Field(default="simulated", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    embodiment: str = "agibot_g1"
    tasks: tuple[TaskPlan, ...] = (TaskPlan(task="press"),)
    episodes: int = Field(default=50, ge=0, description="of every task that does not say otherwise")
    layout: Literal["folders", "tars"] = "folders"
    episodes_per_tar: int = Field(default=100, ge=1)
    cameras: tuple[str, ...] = Field(
        default=("head_color", "hand_left_color", "hand_right_color"), min_length=1, description="the first ones"
    )
    fisheyes: bool = Field(default=False, description="also every fisheye camera that the embodiment has")
    depth: bool = Field(default=False, description="also the head camera's depth, as 16-bit images")
    noise_share: float = Field(default=0.5, ge=0, le=1, description="share of episodes with disturbed commands (DART)")
    noise_m: float = Field(default=0.012, ge=0, le=0.05, description="standard deviation of the disturbance, metres")
    attempts: int = Field(default=3, ge=1, le=20, description="scenes to try until the expert succeeds in one")
    first_seed: int = Field(default=0, ge=0, description="scenes are drawn from seeds of first_seed ..")
    last_seed: int = Field(default=HELD_OUT_SEEDS - 1, ge=0, description=".. last_seed")

    @property
    def plans(self) -> tuple[tuple[str, int, int], ...]:
        """(task, level, episodes) of every task."""
        return tuple((p.task, p.level, self.episodes if p.episodes is None else p.episodes) for p in self.tasks)

    @property
    def total(self) -> int:
        """Episodes of all tasks."""
        return sum(episodes for _, _, episodes in self.plans)

    @property
    def all_cameras(self) -> tuple[str, ...]:
        """`cameras`, and the fisheyes if they are asked for."""
        known = [camera.name for camera in load_embodiment(self.embodiment).cameras]
        extra = [name for name in known if "fisheye" in name and name not in self.cameras] if self.fisheyes else []
        return (*self.cameras, *extra)

    @model_validator(mode="after")
    def _known(self) -> RecordConfig:
        embodiment = load_embodiment(self.embodiment)  # its ValueError lists the known ones
        for plan in self.tasks:
            if plan.task not in TASK_NAMES:
                raise ValueError(f"tasks names {plan.task!r}, which is not a task; known: {', '.join(TASK_NAMES)}")
        pairs = [(plan.task, plan.level) for plan in self.tasks]
        twice = sorted({pair for pair in pairs if pairs.count(pair) > 1})
        if twice:
            raise ValueError(f"tasks names {twice[0][0]!r} at level {twice[0][1]} twice; add up their episodes instead")
        known = [camera.name for camera in embodiment.cameras]
        for camera in self.cameras:
            if camera not in known:
                raise ValueError(f"cameras names {camera!r}; {self.embodiment} has {', '.join(known)}")
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"cameras names one camera twice: {', '.join(self.cameras)}; name each once")
        if self.fisheyes and not any("fisheye" in name for name in known):
            raise ValueError(f"fisheyes is true, but {self.embodiment} has no fisheye camera; set fisheyes=false")
        if self.depth and "head_color" not in self.cameras:
            raise ValueError("depth is the head camera's, and cameras lacks head_color; add it, or set depth=false")
        return self

    @model_validator(mode="after")
    def _numbers(self) -> RecordConfig:
        if self.total == 0:
            raise ValueError("tasks and episodes make no episode at all; name a task, and raise episodes above 0")
        if self.total > MOST_EPISODES:
            raise ValueError(f"{self.total} episodes are more than a drop holds ({MOST_EPISODES}); record several")
        if self.noise_share > 0 and self.noise_m == 0:
            raise ValueError(
                "noise_share asks for disturbed episodes but noise_m is 0; raise noise_m, or set noise_share=0"
            )
        if self.last_seed >= HELD_OUT_SEEDS:
            raise ValueError(f"last_seed is {self.last_seed}; evaluation keeps {HELD_OUT_SEEDS} and above, lower it")
        seeds, needed = self.last_seed - self.first_seed + 1, self.total * self.attempts
        if needed > seeds:
            raise ValueError(
                f"{self.total} episodes with {self.attempts} attempts need {needed} seeds, but first_seed .. last_seed "
                f"holds {max(seeds, 0)}; widen that range, or lower episodes or attempts"
            )
        return self
