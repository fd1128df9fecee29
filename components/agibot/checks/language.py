"""What the episode says is done: the instruction, and the labelled steps as half-open frame spans."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from components.agibot.task_info import Span, TaskEntry
from data_contracts.catalogue import finding, thresholds
from data_contracts.reasons import Finding


def check_language(entry: TaskEntry, count: int, fps: int) -> Iterator[Finding]:
    """The entry of an episode of `count` frames; `end == count` is allowed."""
    where = f"task_info, episode {entry.episode_id}"
    if not entry.task_name:
        yield finding("language.no-instruction", "task_name is empty or absent", where)
    if entry.spans is None:
        yield finding("language.unreadable-labels", "label_info.action_config is no list of labelled spans", where)
        return
    if not entry.spans:
        yield finding("language.no-spans", "label_info.action_config is empty", where)
        return
    yield from check_spans(entry.spans, count, fps, where)


def check_spans(spans: tuple[Span, ...], count: int, fps: int, where: str) -> Iterator[Finding]:
    """Spans must lie in the episode; they should tile it, and say something."""
    for i, span in enumerate(spans):
        if not 0 <= span.start < span.end <= count:
            message = f"step {i} is frames {span.start} .. {span.end}, the episode has {count}"
            yield finding("language.span-invalid", message, f"{where}, step {i}")
            return
    empty = [i for i, span in enumerate(spans) if not span.text or not span.skill]
    if empty:
        message = f"{len(empty)} of {len(spans)} steps have no text or no skill"
        yield finding("language.empty-text", message, f"{where}, step {empty[0]}")
    limits, bounds = thresholds(), np.array(sorted((s.start, s.end) for s in spans))
    gaps = bounds[1:, 0] - np.maximum.accumulate(bounds[:, 1])[:-1]
    if len(gaps) and -gaps.min() > limits.span_overlap_frames:
        i = int(gaps.argmin())
        yield finding(
            "language.span-overlap", f"two steps share {-gaps[i]} frames", f"{where}, frame {bounds[i + 1, 0]}"
        )
    if len(gaps) and gaps.max() > limits.span_gap_s * fps:
        i = int(gaps.argmax())
        message = f"{gaps[i]} frames between two steps have no label"
        yield finding("language.span-gap", message, f"{where}, frame {bounds[i, 1]}")
    covered = np.zeros(count + 1, np.int64)
    np.add.at(covered, bounds[:, 0], 1)
    np.add.at(covered, bounds[:, 1], -1)
    share = float((np.cumsum(covered)[:count] > 0).mean())
    if share < limits.min_coverage:
        message = f"labels cover {share:.0%} of the {count} frames; {limits.min_coverage:.0%} is usual"
        yield finding("language.coverage-low", message, where)
