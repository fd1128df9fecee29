"""A profile: what a team asks of its own drops beyond, or instead of, what is asked of everybody's.

The numbers in force are those of `limits/thresholds.json` and `embodiments/<robot>.json`, then the profile's for the
robot, then the profile's for the task. So a team changes a number by writing a JSON file, and its diff is the review.
"""

from __future__ import annotations

from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import Field, JsonValue, ValidationError, model_validator

from data_contracts.base import Contract
from data_contracts.catalogue import Thresholds, catalogue, thresholds
from data_contracts.embodiment import Embodiment, load_embodiment
from data_contracts.suite import Changes, load_suite

Vector = tuple[float, float, float]
Record = TypeVar("Record", bound=Contract)


class Chain(Contract):
    """An arm's joints as screws in its zero pose, base to flange; metres, in the base frame (x forward, z up)."""

    anchors: tuple[Vector, ...] = Field(description="a point on each joint's axis")
    axes: tuple[Vector, ...] = Field(description="unit vectors; a positive angle turns right-handed about them")
    flange: Vector = Field(description="the flange's place in the zero pose")


class RobotProfile(Contract):
    """What differs for one robot."""

    changes: dict[str, JsonValue] = Field(default_factory=dict, description="fields of its embodiment, replaced")
    thresholds: dict[str, JsonValue] = Field(default_factory=dict)
    chains: tuple[Chain, Chain] | None = Field(
        default=None, description="left and right arm; None: flange poses are not compared with joint angles"
    )


class Acceptance(Contract):
    """An episode that a person accepts in spite of errors, which become warnings. Any other error still refuses it."""

    task_id: int
    episode_id: int
    codes: tuple[str, ...] = Field(min_length=1, description="the errors that were looked at")
    reason: str = Field(min_length=3, description="why they do no harm")
    by: str = Field(min_length=2, description="who looked at the episode")

    @model_validator(mode="after")
    def _acceptable(self) -> Acceptance:
        known = [code for code, reason in catalogue().items() if reason.acceptable]
        for code in self.codes:
            if code not in known:
                raise ValueError(f"{code} can't be accepted; the errors that can be are {', '.join(known)}")
        return self


class Profile(Contract):
    """`profiles/<name>.json`, or a team's own file. `source` says where its numbers come from."""

    set_by_name: ClassVar[bool] = True
    """`--set intake.profile=FILE` loads one."""

    name: str = "default"
    source: str = ""
    robots: dict[str, RobotProfile] = Field(default_factory=dict, description="by embodiment")
    tasks: dict[int, dict[str, JsonValue]] = Field(default_factory=dict, description="thresholds by task id")
    skills: tuple[str, ...] = Field(default=(), description="skills that labels may name; none: any")
    contract: Changes = Field(
        default_factory=dict, description="by an expectation's name: its numbers that are others; null leaves it out"
    )

    accept: tuple[Acceptance, ...] = Field(default=(), description="episodes that are accepted by hand")

    @model_validator(mode="after")
    def _usable(self) -> Profile:
        load_suite().changed(self.contract)
        for name in self.robots:
            self.robot(name)
        for name in self.robots or ("",):
            for task in self.tasks or (-1,):
                self.thresholds(name, task)
        return self

    def robot(self, name: str) -> Embodiment:
        """The embodiment `name` with this profile's changes. Raises ValueError for one that is not known."""
        robot = load_embodiment(name)
        changes = self.robots[name].changes if name in self.robots else {}
        return _changed(robot, changes, f"robots.{name}.changes")

    def thresholds(self, robot: str, task_id: int) -> Thresholds:
        """The thresholds for an episode of this robot and task."""
        own = self.robots[robot].thresholds if robot in self.robots else {}
        found = _changed(thresholds(), own, f"robots.{robot}.thresholds")
        return _changed(found, self.tasks.get(task_id, {}), f"tasks.{task_id}")

    @cached_property
    def acceptances(self) -> dict[tuple[int, int], Acceptance]:
        """By task and episode; of two for one episode the later counts."""
        return {(a.task_id, a.episode_id): a for a in self.accept}

    def chains(self, robot: str) -> tuple[Chain, Chain] | None:
        return self.robots[robot].chains if robot in self.robots else None


def _changed(record: Record, changes: dict[str, JsonValue], field: str) -> Record:
    if not changes:
        return record
    try:
        return type(record).model_validate(record.model_dump() | changes)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"{field}: {said}") from None


def load_profile(name: str) -> Profile:
    """A profile that comes with Orrery, by its name, or the one in a JSON file. Raises ValueError."""
    folder = resources.files("data_contracts") / "profiles"
    file = folder / f"{name}.json"
    try:
        if file.is_file():
            return Profile.model_validate_json(file.read_text(encoding="utf-8"))
        return Profile.model_validate_json(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        known = sorted(f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json"))
        message = (
            f"profile {name!r} is neither a readable file nor one of {', '.join(known)}: {error.strerror or error}"
        )
        raise ValueError(message) from None
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"profile {name!r}: {said}") from None
