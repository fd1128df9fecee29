"""Lengths of states and actions, and what an action's `index` says; with the one repair that is provable.

Index semantics (reference, B4): an action's `index` lists the frames at which the source really sent commands; at all
other frames the action repeats the state. So an action with as many rows as its index has entries can be placed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.agibot.checks.evidence import Evidence
from components.agibot.checks.places import frames, in_file
from components.agibot.proprio import PARTS, Array, Proprio
from data_contracts.catalogue import finding
from data_contracts.dataset import Repair
from data_contracts.embodiment import Embodiment
from data_contracts.reasons import Finding

REPAIR = "hdf5.action-shorter-than-state"


@dataclass
class Aligned:
    """Arrays that all have N rows, what was found on the way, and what was repaired."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    repaired: list[Repair] = field(default_factory=list)


def align(proprio: Proprio, embodiment: Embodiment, repair: bool) -> Aligned:
    """Every array with one row per frame; those that can't be brought to that are left out, with a finding."""
    n, result = proprio.frames, Aligned()
    for key, values in proprio.arrays.items():
        if key.endswith("/index"):
            continue
        if len(values) == n:
            result.arrays[key] = values
        elif not key.startswith("action/"):
            message = f"{key} has {len(values)} rows, the episode {n} frames"
            result.findings.append(finding("hdf5.length-mismatch", message, in_file(key)))
        elif len(values) > n:
            message = f"{key} has {len(values)} rows for {n} frames"
            result.findings.append(finding("hdf5.action-longer-than-state", message, in_file(key)))
        else:
            _place(result, proprio, key, embodiment, repair)
    result.findings += check_index(proprio)
    return result


def _place(result: Aligned, proprio: Proprio, key: str, embodiment: Embodiment, repair: bool) -> None:
    """Scatter a short action onto a copy of the state, if its index says where each row belongs."""
    values, n = proprio[key], proprio.frames
    index, state = proprio.get(key.rpartition("/")[0] + "/index"), proprio.get(key.replace("action/", "state/", 1))
    length = "no index" if index is None else f"an index of {len(index)}"
    placeable = index is not None and len(index) == len(values) and not _index_problem(index, n)
    if index is None or not placeable or not repair or state is None or state.shape != (n, *values.shape[1:]):
        reason = f"and {length}" + ("; repair is off" if placeable and not repair else "")
        message = f"{key} has {len(values)} rows for {n} frames {reason}"
        result.findings.append(finding("hdf5.action-unplaceable", message, in_file(key)))
        return
    placed = closed_share(state, embodiment) if key == "action/effector/position" else state.copy()
    placed[index] = values
    result.arrays[key] = placed
    result.repaired.append(
        Repair(key=key, reason=REPAIR, rows=(len(values), n), before=_hash(values), after=_hash(placed))
    )
    message = f"{key} has {len(values)} rows for {n} frames; its index places them"
    result.findings.append(finding(REPAIR, message, in_file(key)))


def _hash(values: Array) -> str:
    """Of an array's shape and its values in double precision."""
    return hashlib.sha256(f"{values.shape}".encode() + np.ascontiguousarray(values, "<f8").tobytes()).hexdigest()


def check_index(proprio: Proprio) -> Iterator[Finding]:
    """Indices must rise strictly within the episode."""
    for part in PARTS:
        key = f"action/{part}/index"
        index = proprio.get(key)
        problem = "" if index is None else _index_problem(index, proprio.frames)
        if problem:
            yield finding("hdf5.index-invalid", f"{key} {problem}", in_file(key))


def _index_problem(index: NDArray[np.int64], n: int) -> str:
    if (index < 0).any() or (index >= n).any():
        return f"holds {int(index.min())} .. {int(index.max())}, the episode has frames 0 .. {n - 1}"
    falls = np.diff(index) <= 0
    if falls.any():
        return f"does not rise at entries {frames(falls).split(' ', 1)[1]}"
    return ""


def check_copied(evidence: Evidence) -> Iterator[Finding]:
    """How often the arms' action is the state itself."""
    state, action = (evidence.arrays.get(f"{group}/joint/position") for group in ("state", "action"))
    if state is None or action is None or state.shape != action.shape:
        return
    share = float((state == action).all(axis=1).mean())
    if share > 0.5:
        message = f"action/joint/position equals the state at {share:.0%} of the frames"
        yield finding("hdf5.action-equals-state", message, in_file("action/joint/position"))


def closed_share(effector: Array, embodiment: Embodiment) -> Array:
    """Gripper position in the raw unit -> 0 open .. 1 closed, not clipped."""
    return (effector - embodiment.gripper_open) / (embodiment.gripper_closed - embodiment.gripper_open)
