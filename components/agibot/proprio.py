"""Reads `proprio_stats.h5`: states, commands and clocks of one episode, as arrays of checked shapes.

The file comes from outside: links, external storage, virtual and oversized arrays are findings and are not followed.
Shapes and meanings: AgiBot-World card (reference, B4). N frames, J joints per arm, left before right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from components.agibot.blob import Blob, TooLarge
from components.agibot.checks.places import in_file
from data_contracts.catalogue import finding, thresholds
from data_contracts.embodiment import Embodiment
from data_contracts.reasons import Finding

Array = NDArray[np.float64]
TIMESTAMP = "timestamp"
_LINKS = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "an external link"}
PARTS = ("joint", "effector", "end", "head", "waist", "robot")


@dataclass(frozen=True)
class KeySpec:
    """What the layout says of one array: the shape of a row, and whether an episode is usable without it."""

    row: tuple[int, ...]
    required: bool
    integer: bool = False


@dataclass
class Proprio:
    """Arrays by key; only those that are there, non-empty and of the right shape. `frames` is the timestamps' count."""

    frames: int = 0
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __getitem__(self, key: str) -> NDArray[Any]:
        return self.arrays[key]

    def get(self, key: str) -> NDArray[Any] | None:
        return self.arrays.get(key)


def key_specs(embodiment: Embodiment) -> dict[str, KeySpec]:
    """Every array that is read, for this robot. States and actions of arms and grippers are required."""
    joints = 2 * embodiment.joints_per_arm
    both = {
        "joint/position": ((joints,), True),
        "effector/position": ((2,), True),
        "end/position": ((2, 3), True),
        "end/orientation": ((2, 4), True),
        "head/position": ((2,), False),
        "waist/position": ((2,), False),
    }
    specs = {TIMESTAMP: KeySpec((), True, integer=True)}
    for group in ("state", "action"):
        specs |= {f"{group}/{name}": KeySpec(row, required) for name, (row, required) in both.items()}
    specs |= {
        "state/robot/position": KeySpec((3,), False),
        "state/robot/orientation": KeySpec((4,), False),
        "action/robot/velocity": KeySpec((2,), False),
    }
    return specs | {f"action/{part}/index": KeySpec((), False, integer=True) for part in PARTS}


def read_proprio(blob: Blob, embodiment: Embodiment) -> tuple[Proprio | None, list[Finding]]:
    """The arrays, and what is wrong with the file. None if nothing of it can be used. Never raises for its content."""
    try:
        data = blob.read(thresholds().max_proprio_bytes)
    except TooLarge as error:
        return None, [finding("archive.too-large", f"{blob.name}: {error}", blob.name)]
    except OSError as error:
        return None, [finding("hdf5.unreadable", f"{blob.name}: {error}", blob.name)]
    proprio = Proprio()
    findings: list[Finding] = []
    try:
        with h5py.File(h5py.h5f.open_file_image(data), "r") as file:
            nodes = {"": file.id}
            for key, spec in key_specs(embodiment).items():
                findings += _read_key(nodes, key, spec, proprio)
    except Exception as error:  # libhdf5 raises many kinds for damaged files, none of them ours to crash on
        message = f"{blob.name} can't be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return None, [finding("hdf5.unreadable", message, blob.name)]
    stamps = proprio.get(TIMESTAMP)
    if stamps is None or any(f.code == "hdf5.too-many-frames" for f in findings):
        return None, findings
    proprio.frames = len(stamps)
    if proprio.frames < 2:
        return None, [
            *findings,
            finding("hdf5.no-frames", f"the episode has {proprio.frames} frame", in_file(TIMESTAMP)),
        ]
    return proprio, findings


def _read_key(nodes: dict[str, Any], key: str, spec: KeySpec, proprio: Proprio) -> Iterator[Finding]:
    where = in_file(key)
    dataset, problem = _dataset(nodes, key)
    if problem:
        yield finding("hdf5.unsafe-reference", f"{key} {problem}", where)
    elif dataset is None or not dataset.size:
        if spec.required:
            state = "is absent" if dataset is None else "is empty"
            code = "hdf5.no-frames" if key == TIMESTAMP and dataset is not None else "hdf5.missing-key"
            yield finding(code, f"{key} {state}", where)
    elif dataset.dtype.kind not in ("iu" if spec.integer and key != TIMESTAMP else "iuf"):
        yield finding(
            "hdf5.wrong-type", f"{key} holds {str(dataset.dtype)[:80]}, not numbers as the layout says", where
        )
    elif dataset.shape[1:] != spec.row:
        wanted = ", ".join(["N", *map(str, spec.row)])
        yield finding("hdf5.wrong-shape", f"{key} is {tuple(dataset.shape)}; this robot has ({wanted})", where)
    elif len(dataset) > thresholds().max_frames:
        message = f"{key} has {len(dataset)} rows; at most {thresholds().max_frames} are read"
        yield finding("hdf5.too-many-frames", message, where)
    else:
        values = dataset[()]
        if not np.isfinite(values).all():
            yield _not_finite(key, values)
        elif not spec.integer:
            proprio.arrays[key] = np.asarray(values, np.float64)
        elif np.abs(values.astype(np.float64)).max() >= 2.0**63:
            yield finding("hdf5.wrong-type", f"{key} holds numbers beyond 64 bits", where)
        else:
            proprio.arrays[key] = values.astype(np.int64)


def _dataset(nodes: dict[str, Any], key: str) -> tuple[h5py.Dataset | None, str]:
    """The dataset at `key`, or why it must not be followed. `nodes` are those opened already, by path; the root is ''.

    They are opened by their names and ids: h5py's own indexing costs thirty times as much, for each of fifty nodes.
    """
    path = ""
    for part in key.split("/"):
        above, path = nodes[path], f"{path}/{part}"
        if path in nodes:
            continue
        name = part.encode()
        if not isinstance(above, h5py.h5g.GroupID) or not above.links.exists(name):
            return None, ""
        kind = above.links.get_info(name).type
        if kind != h5py.h5l.TYPE_HARD:
            return None, f"is reached through {_LINKS.get(kind, 'a link of an unknown kind')}"
        nodes[path] = h5py.h5o.open(above, name)
    if not isinstance(nodes[path], h5py.h5d.DatasetID):
        return None, ""
    dataset = h5py.Dataset(nodes[path], readonly=True)
    if dataset.is_virtual or dataset.external:
        return None, "is stored outside the file"
    return dataset, ""


def _not_finite(key: str, values: NDArray[Any]) -> Finding:
    bad = ~np.isfinite(values.reshape(len(values), -1))
    first = int(np.flatnonzero(bad.any(axis=1))[0])
    message = f"{key} has {int(bad.sum())} values that are NaN or infinite, the first at frame {first}"
    return finding("hdf5.not-finite", message, f"{in_file(key)}, frame {first}")
