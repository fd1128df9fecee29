"""What the episode says is done: the instruction, and the labelled steps as half-open frame spans."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from components.agibot.checks.evidence import Evidence
from components.agibot.task_info import Span
from data_contracts.catalogue import Thresholds, finding
from data_contracts.reasons import Finding


def check_language(evidence: Evidence) -> Iterator[Finding]:
    """The episode's entry in task_info; a step may end where the episode does."""
    entry = evidence.entry
    if entry is None or not evidence.frames:
        return
    where = f"task_info, episode {entry.episode_id}"
    if not entry.task_name:
        yield finding("language.no-instruction", "task_name is empty or absent", where)
    if entry.spans is None:
        yield finding("language.unreadable-labels", "label_info.action_config is no list of labelled spans", where)
        return
    if not entry.spans:
        yield finding("language.no-spans", "label_info.action_config is empty", where)
        return
    invalid = list(check_bounds(entry.spans, evidence.frames, where))
    yield from invalid
    if not invalid:
        yield from check_texts(entry.spans, evidence.skills, where)
        yield from check_cover(entry.spans, evidence.frames, evidence.robot.fps, evidence.allowed, where)


def check_bounds(spans: tuple[Span, ...], count: int, where: str) -> Iterator[Finding]:
    """Spans must lie in the episode."""
    for i, span in enumerate(spans):
        if not 0 <= span.start < span.end <= count:
            message = f"step {i} is frames {span.start} .. {span.end}, the episode has {count}"
            yield finding("language.span-invalid", message, f"{where}, step {i}")
            return


def check_texts(spans: tuple[Span, ...], skills: tuple[str, ...], where: str) -> Iterator[Finding]:
    """Each span should say what is done, in a word of the vocabulary if there is one."""
    empty = [i for i, span in enumerate(spans) if not span.text or not span.skill]
    if empty:
        message = f"{len(empty)} of {len(spans)} steps have no text or no skill"
        yield finding("language.empty-text", message, f"{where}, step {empty[0]}")
    unknown = [i for i, span in enumerate(spans) if skills and span.skill and span.skill not in skills]
    if unknown:
        message = f"{len(unknown)} of {len(spans)} steps name a skill like {spans[unknown[0]].skill[:80]!r}"
        yield finding(
            "language.unknown-skill", f"{message}, which is not in the profile", f"{where}, step {unknown[0]}"
        )


def check_cover(spans: tuple[Span, ...], count: int, fps: int, limits: Thresholds, where: str) -> Iterator[Finding]:
    """Spans should tile the episode, in pieces long enough to learn from."""
    bounds = np.array(sorted((s.start, s.end) for s in spans))
    lengths = bounds[:, 1] - bounds[:, 0]
    if lengths.min() < limits.span_frames:
        i = int(lengths.argmin())
        message = f"{int((lengths < limits.span_frames).sum())} steps are shorter than {limits.span_frames} frames"
        yield finding("language.span-short", f"{message}, down to {lengths[i]}", f"{where}, frame {bounds[i, 0]}")
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
