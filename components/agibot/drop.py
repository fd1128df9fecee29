"""The inventory of a raw drop: task_info, observations, parameters and proprio_stats joined by (task, episode).

A drop is a folder (or one tar) in the AgiBot-World layout; its trees hold folders or tars, with or without a folder
named after a tar's range (`475/702578-743685/743559`). Tar ranges overlap, so members are found by index, not by name.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.agibot.blob import Blob, TooLarge
from components.agibot.tar_index import TarIndex, index_blob
from components.agibot.task_info import FILE_NAME, TaskEntry, parse_task_info
from components.store.errors import ConfigurationError
from data_contracts.base import fingerprint
from data_contracts.catalogue import finding, thresholds
from data_contracts.reasons import Finding

Key = tuple[int, int]
"""(task_id, episode_id)"""
NOWHERE = -1
"""The id that stands for 'no single one' in a finding about the drop or about a task."""
TREES = ("observations", "parameters", "proprio_stats")
_RANGE = re.compile(r"^[0-9]+-[0-9]+$")
_ID = re.compile(r"^[0-9]{1,15}$")


@dataclass
class EpisodeSource:
    """Where the parts of one episode lie, by their path below the episode's folder in each tree."""

    task_id: int
    episode_id: int
    entry: TaskEntry | None = None
    parts: dict[str, dict[str, Blob]] = field(default_factory=lambda: {tree: {} for tree in TREES})
    findings: list[Finding] = field(default_factory=list)

    @property
    def key(self) -> Key:
        return self.task_id, self.episode_id

    @property
    def proprio(self) -> Blob | None:
        return self.parts["proprio_stats"].get("proprio_stats.h5")

    def video(self, camera: str) -> Blob | None:
        return self.parts["observations"].get(f"videos/{camera}.mp4")

    def depth(self) -> dict[str, Blob]:
        """Depth images by file name."""
        return {p.removeprefix("depth/"): b for p, b in self.parts["observations"].items() if p.startswith("depth/")}

    def parameters(self, name: str) -> Blob | None:
        """A camera parameter file, under `parameters/camera/` or directly under `camera/`."""
        tree = self.parts["parameters"]
        return tree.get(f"parameters/camera/{name}") or tree.get(f"camera/{name}")

    def blobs(self) -> Iterator[Blob]:
        """Every part, in a fixed order."""
        for tree in TREES:
            for _, blob in sorted(self.parts[tree].items()):
                yield blob

    def used(self, cameras: Sequence[str]) -> dict[tuple[str, str], Blob]:
        """By tree and path, what an intake of `cameras` reads: all but the other cameras' videos."""
        wanted = {f"videos/{camera}.mp4" for camera in cameras}
        return {
            (tree, path): blob
            for tree in TREES
            for path, blob in sorted(self.parts[tree].items())
            if tree != "observations" or not path.startswith("videos/") or path in wanted
        }

    def place(self, cameras: Sequence[str]) -> str:
        """Hash of where the files lie that are used: equal only if they are the same; '' if that is not known."""
        where = [[tree, path, blob.identity] for (tree, path), blob in self.used(cameras).items()]
        return fingerprint([self._labels(), where]) if all(identity for _, _, identity in where) else ""

    def content(self, cameras: Sequence[str]) -> str:
        """Hash over the raw files that the episode is made from, wherever they lie; they are read for it."""
        what = [[tree, path, blob.sha256()] for (tree, path), blob in self.used(cameras).items()]
        return fingerprint([self.task_id, self.episode_id, what, self._labels()])

    def _labels(self) -> object:
        entry = self.entry
        return entry and [entry.task_name, entry.init_scene_text, [vars(s) for s in entry.spans or ()]]

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.blobs())


@dataclass
class Drop:
    """Everything that a raw drop holds. `findings` are about the drop or a task as a whole, by their pseudo key."""

    episodes: dict[Key, EpisodeSource] = field(default_factory=dict)
    findings: dict[Key, list[Finding]] = field(default_factory=dict)

    def source(self, key: Key) -> EpisodeSource:
        return self.episodes.setdefault(key, EpisodeSource(*key))

    def report(self, key: Key, found: Finding) -> None:
        """Keep a finding: with its episode if it is about one, else about the drop (or a task)."""
        if NOWHERE in key:
            self.findings.setdefault(key, []).append(found)
        else:
            self.source(key).findings.append(found)


def open_drop(source: Path) -> Drop:
    """The inventory of the drop at `source`, a folder or a tar, in key order.

    Raises ConfigurationError if there is nothing at `source`; whatever lies there becomes findings.
    """
    if not source.exists():
        raise ConfigurationError(f"{source} is not there; name the folder or tar that holds the raw drop")
    if source.is_dir():
        return inventory(Blob.of_file(path, name) for path, name in files_below(source))
    drop = Drop()
    _place_tar(drop, Blob.of_file(source, source.name), (), index_blob)
    return _joined(drop)


def inventory(files: Iterable[Blob], index: Callable[[Blob], TarIndex] = index_blob) -> Drop:
    """The inventory of a drop whose files are given, their names below it; `index` reads a tar's headers."""
    drop = Drop()
    for blob in files:
        parts = tuple(blob.name.split("/"))
        if blob.name.endswith(".tar") and (parts[0] in TREES or len(parts) == 1):
            _place_tar(drop, blob, parts[:-1], index)
        else:
            _place_blob(drop, blob, parts)
    return _joined(drop)


def _joined(drop: Drop) -> Drop:
    _join(drop)
    drop.episodes = dict(sorted(drop.episodes.items()))
    return drop


def files_below(root: Path) -> Iterator[tuple[Path, str]]:
    """Plain files below `root` in order, with their names below it as readable text.

    Links to files are followed, as download tools lay them; links to folders are not.
    """
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            try:
                if stat.S_ISREG(path.stat().st_mode):
                    yield path, os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "replace")
            except OSError:
                continue


def _place_tar(drop: Drop, tar: Blob, above: tuple[str, ...], make_index: Callable[[Blob], TarIndex]) -> None:
    """Index a tar and place its members as if they lay in a folder in its stead."""
    name = tar.name
    try:
        index = make_index(tar)
    except OSError as error:
        index = TarIndex(name, findings=[finding("archive.unreadable", f"{name}: {error.strerror or error}", name)])
    for member in index.members:
        _place_blob(drop, tar.member(member.name, member.offset, member.size), (*above, *_clean(member.name)))
    owners = {f"{name}:{m.name}": _owner((*above, *_clean(m.name))) for m in index.truncated}
    for found in index.findings:
        drop.report(owners.get(found.where) or (NOWHERE, NOWHERE), found)


def _clean(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _place_blob(drop: Drop, blob: Blob, parts: tuple[str, ...]) -> None:
    """File a blob under its episode, by its path; what is no part of the layout is left alone."""
    if parts[0] == "task_info" and len(parts) == 2 and (match := FILE_NAME.match(parts[1])):
        _place_task_info(drop, blob, int(match[1]))
        return
    key = _owner(parts)
    if key is None:
        return
    tree, rest = parts[0], [p for p in parts[1:] if not _RANGE.match(p)][2:]
    source = drop.source(key)
    if rest[0] == str(key[1]) and len(rest) > 1:
        if not any(f.code == "inventory.nested-duplicate" for f in source.findings):
            message = f"{tree}/{key[0]}/{key[1]} holds a folder {key[1]} of its own name"
            source.findings.append(finding("inventory.nested-duplicate", message, blob.name))
        return
    path = "/".join(rest)
    known = source.parts[tree].get(path)
    if known is None:
        source.parts[tree][path] = blob
    elif known.equals(blob):
        source.findings.append(finding("duplicate.same-part", f"{path} is also {blob.name}", known.name))
    else:
        message = f"{path} has {known.size} bytes in {known.name} and {blob.size} other bytes in {blob.name}"
        source.findings.append(finding("duplicate.part", message, known.name))


def _owner(parts: tuple[str, ...]) -> Key | None:
    """The episode that a path belongs to: `tree/[range/]task/[range/]episode/...`. None if it is no episode's."""
    if not parts or parts[0] not in TREES:
        return None
    names = [p for p in parts[1:] if not _RANGE.match(p)]
    if len(names) < 3 or not (_ID.match(names[0]) and _ID.match(names[1])):
        return None
    return int(names[0]), int(names[1])


def _place_task_info(drop: Drop, blob: Blob, task_id: int) -> None:
    try:
        entries, problems = parse_task_info(blob.read(thresholds().max_json_bytes), blob.name)
    except (OSError, TooLarge) as error:
        entries, problems = [], [finding("inventory.unreadable-task-info", f"{blob.name}: {error}", blob.name)]
    for problem in problems:
        drop.report((task_id, NOWHERE), problem)
    for entry in entries:
        source = drop.source((task_id, entry.episode_id))
        if source.entry is None:
            source.entry = entry
        elif not any(f.code == "inventory.duplicate-id" for f in source.findings):
            message = f"{blob.name} lists episode {entry.episode_id} more than once"
            source.findings.append(finding("inventory.duplicate-id", message, blob.name))


def _join(drop: Drop) -> None:
    """What each episode lacks of the four parts, and whether there is any episode at all."""
    if not drop.episodes and not drop.findings:
        message = (
            "no episode was found below task_info, observations, parameters or proprio_stats; name the folder, prefix "
            "or tar that holds these (a tar of one of them alone does not tell its task)"
        )
        drop.report((NOWHERE, NOWHERE), finding("inventory.empty-drop", message))
    for source in drop.episodes.values():
        names = f"task {source.task_id}, episode {source.episode_id}"
        if source.entry is None:
            where = f"task_info/task_{source.task_id}.json"
            source.findings.append(finding("inventory.missing-task-info", f"{names}: not in {where}", where))
        if not any(p.startswith("videos/") for p in source.parts["observations"]):
            where = f"observations/{source.task_id}/{source.episode_id}"
            source.findings.append(finding("inventory.missing-observations", f"{names}: no videos", where))
        if source.proprio is None:
            where = f"proprio_stats/{source.task_id}/{source.episode_id}/proprio_stats.h5"
            source.findings.append(finding("inventory.missing-proprio", f"{names}: no proprio_stats.h5", where))
