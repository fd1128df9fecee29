"""Reads `task_info/task_{id}.json`: which episodes a task has, what they are about and how their steps are labelled."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from data_contracts.catalogue import finding
from data_contracts.reasons import Finding

FILE_NAME = re.compile(r"^task_([0-9]{1,12})\.json$")
_LARGEST_ID = 10**15


@dataclass(frozen=True)
class Span:
    """One labelled step, half open: frames `start` .. `end - 1`."""

    start: int
    end: int
    text: str
    skill: str


@dataclass(frozen=True)
class TaskEntry:
    """One episode as task_info lists it. `spans` None: its labels can't be read."""

    episode_id: int
    task_name: str
    init_scene_text: str
    spans: tuple[Span, ...] | None


def parse_task_info(data: bytes, name: str) -> tuple[list[TaskEntry], list[Finding]]:
    """The entries of one file, in its order, and what is wrong with the file. Never raises."""
    try:
        entries = json.loads(data)
    except (ValueError, RecursionError) as error:
        return [], [finding("inventory.unreadable-task-info", f"{name} is no JSON: {_short(error)}", name)]
    if not isinstance(entries, list):
        return [], [finding("inventory.unreadable-task-info", f"{name} holds no list of episodes", name)]
    found: list[TaskEntry] = []
    problems: list[Finding] = []
    for position, entry in enumerate(entries):
        episode_id = _integer(entry.get("episode_id")) if isinstance(entry, dict) else None
        if episode_id is None or not 0 <= episode_id <= _LARGEST_ID:
            if len(problems) < 20:
                problems.append(
                    finding("inventory.unreadable-task-info", f"entry {position} has no usable episode_id", name)
                )
            continue
        found.append(
            TaskEntry(episode_id, _text(entry.get("task_name")), _text(entry.get("init_scene_text")), _spans(entry))
        )
    return found, problems


def _spans(entry: dict[str, Any]) -> tuple[Span, ...] | None:
    labels = entry.get("label_info")
    steps = labels.get("action_config") if isinstance(labels, dict) else None
    if not isinstance(steps, list):
        return None
    spans = []
    for step in steps:
        if not isinstance(step, dict):
            return None
        start, end = _integer(step.get("start_frame")), _integer(step.get("end_frame"))
        if start is None or end is None:
            return None
        spans.append(Span(start, end, _text(step.get("action_text")), _text(step.get("skill"))))
    return tuple(spans)


def _integer(value: Any) -> int | None:
    """An integer, also as text or as a whole float, as some exporters write it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_ID else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= _LARGEST_ID else None
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}", value.strip(), re.ASCII):
        return int(value)
    return None


def _text(value: Any) -> str:
    """Readable text in one line; '' if it is none."""
    if not isinstance(value, str):
        return ""
    return " ".join(value.encode("utf-8", "replace").decode("utf-8").split())


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
