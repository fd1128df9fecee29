"""Scripted experts: minimum-jerk motions through a task's phases, made into joint commands by inverse kinematics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from components.robots.env import Env
from components.robots.kinematics import Array, Pose, euler_to_matrix, matrix_to_euler, tool_rotation
from components.robots.robot import SIDES
from components.robots.scene import CONTROL_HZ
from components.robots.tasks.base import Phase, Reach

PEAK_SPEED = 0.36
"""Metres per second at the fastest point of a motion."""
PEAK_TURN = 1.6
"""Radians per second, likewise."""
SHORTEST_SECONDS = 0.40
NOISE_TICKS = 8.0
"""Correlation time of the injected noise."""
NOISE_RAD_PER_M = 4.0
"""Orientation noise (rad) for each metre of position noise."""
CLEARANCE = 0.012
"""Metres over the table below which noise pushes no tool: fingers that stick to the table demonstrate nothing."""


@dataclass(frozen=True)
class Step:
    """One control tick of an expert."""

    command: Array
    """What the expert wants, (2 (J + 1),): this is what a recording keeps as the action."""
    label: str
    skill: str
    executed: Array
    """What to give to `env.step`: `command`, or with noise injected a disturbed one."""


@dataclass
class _Tool:
    """A tool's commanded pose as the numbers that motions interpolate."""

    position: Array
    yaw: float
    tilt: float
    gripper: float

    def flange(self, reach: float) -> Pose:
        """The flange that puts the tool here."""
        return Pose(self.position, tool_rotation(self.yaw, self.tilt)).along_z(-reach)

    def disturbed(self, reach: float, shift: Array, table: float) -> Pose:
        """The same, `shift` (6,) away in position (m) and orientation (rad), but not pushed into the table."""
        position = self.position + shift[:3]
        position[2] = max(position[2], min(self.position[2], table + CLEARANCE))
        return Pose(position, euler_to_matrix(shift[3:]) @ tool_rotation(self.yaw, self.tilt)).along_z(-reach)


def expert(env: Env, noise: float = 0.0) -> Iterator[Step]:
    """The expert's ticks for the episode that `env` was reset to. The caller steps `env` with each tick's `executed`.

    `noise` (m) disturbs the executed commands of the arms that move by smooth random offsets of that standard
    deviation, while `command` stays what the expert wants there: recordings then hold the way back from errors that a
    policy will make (DART, Laskey et al. 2017). The noise is a function of the episode's seed.
    """
    reach = env.embodiment.tool_offset
    tools = {side: _current(env, index) for index, side in enumerate(SIDES)}
    disturbance = _Disturbance(noise, np.random.default_rng([env.seed, 0xDA27]))
    for phase in env.task.phases():
        starts = dict(tools)
        ticks = _ticks(env, phase, tools)
        for tick in range(1, ticks + 1):
            share = _minimum_jerk(tick / ticks)
            for side, move in phase.moves.items():
                tools[side] = _between(starts[side], move, env.to_base, share)
            command = _command(env, [tools[side].flange(reach) for side in SIDES], tools)
            executed = command
            if noise > 0:
                shifts = disturbance.next(phase)
                table = env.shape.table_height
                executed = _command(env, [tools[s].disturbed(reach, shifts[s], table) for s in SIDES], tools)
            yield Step(command, phase.label, phase.skill, executed)


def _current(env: Env, index: int) -> _Tool:
    eef = env.command_to_eef(env.command)[7 * index : 7 * index + 7]
    tool = Pose(eef[:3], euler_to_matrix(eef[3:6])).along_z(env.embodiment.tool_offset)
    roll, _, yaw = matrix_to_euler(tool.rotation)
    return _Tool(tool.position, float(yaw - np.pi / 2), float(np.pi - roll), float(eef[6]))


def _command(env: Env, flanges: list[Pose], tools: dict[str, _Tool]) -> Array:
    parts = [
        [*flange.position, *matrix_to_euler(flange.rotation), tools[side].gripper]
        for side, flange in zip(SIDES, flanges, strict=True)
    ]
    return env.eef_to_command(np.concatenate(parts))


def _between(start: _Tool, move: Reach, to_base: object, share: float) -> _Tool:
    end = to_base(move.position)  # type: ignore[operator]
    straight = start.position + share * (end - start.position)
    if move.via is not None:
        bend = to_base(move.via)  # type: ignore[operator]
        straight = (1 - share) ** 2 * start.position + 2 * share * (1 - share) * bend + share**2 * end
    return _Tool(
        straight,
        start.yaw + share * (move.yaw - start.yaw),
        start.tilt + share * (move.tilt - start.tilt),
        start.gripper + share * (move.gripper - start.gripper),
    )


def _ticks(env: Env, phase: Phase, tools: dict[str, _Tool]) -> int:
    seconds = phase.seconds
    if seconds is None:
        seconds = SHORTEST_SECONDS
        for side, move in phase.moves.items():
            tool = tools[side]
            way = float(np.linalg.norm(env.to_base(move.position) - tool.position))
            if move.via is not None:
                bend = env.to_base(move.via)
                way = float(
                    0.5 * way
                    + 0.5 * np.linalg.norm(bend - tool.position)
                    + 0.5 * np.linalg.norm(env.to_base(move.position) - bend)
                )
            turn = max(abs(move.yaw - tool.yaw), abs(move.tilt - tool.tilt))
            seconds = max(seconds, 1.875 * way / PEAK_SPEED, 1.875 * turn / PEAK_TURN)
    return max(1, round(seconds * CONTROL_HZ))


def _minimum_jerk(t: float) -> float:
    """Position along a minimum-jerk motion at time t of 0..1 (Flash and Hogan 1985); its peak speed is 1.875."""
    return t * t * t * (10 - 15 * t + 6 * t * t)


class _Disturbance:
    """Smooth Gaussian offsets (6,) per moving arm: white noise through two low-pass filters."""

    def __init__(self, deviation: float, rng: np.random.Generator) -> None:
        self._rng, self._decay = rng, np.exp(-1.0 / NOISE_TICKS)
        d = self._decay
        # Stationary variance of unit white noise through two equal one-pole filters of gain (1 - d).
        variance = (1 - d) ** 4 * (1 + d * d) / (1 - d * d) ** 3
        self._scale = deviation / np.sqrt(variance) * np.array([1, 1, 1, *[NOISE_RAD_PER_M] * 3])
        self._inner = {side: np.zeros(6) for side in SIDES}
        self._outer = {side: np.zeros(6) for side in SIDES}
        self._gain = 0.0

    def next(self, phase: Phase) -> dict[str, Array]:
        """This tick's offsets; an arm that the phase does not move gets its own fading away."""
        self._gain += 0.2 * (phase.noise_scale - self._gain)
        keep, take = self._decay, 1 - self._decay
        for side in SIDES:
            drive = self._rng.standard_normal(6) * self._scale if side in phase.moves else np.zeros(6)
            self._inner[side] = keep * self._inner[side] + take * drive
            self._outer[side] = keep * self._outer[side] + take * self._inner[side]
        return {side: self._gain * self._outer[side] for side in SIDES}
