"""What only a drop as a whole can tell: copies, and texts that vary within a task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from components.agibot.copies import near_copies
from components.agibot.examine import Examined
from components.agibot.reading import Settings
from data_contracts.catalogue import finding
from data_contracts.reasons import Finding


def compare(examined: list[Examined], settings: Settings, known: Sequence[Examined] = ()) -> list[Examined]:
    """The episodes in key order, with what comparing them tells: with each other and with those `known` before."""
    return _note_texts(_note_near(refuse_copies(examined, known), settings, known), known)


def refuse_copies(examined: list[Examined], known: Sequence[Examined] = ()) -> list[Examined]:
    """Of usable episodes that move exactly alike, a known one or else the first in key order is kept."""
    first = {e.motion: e for e in known if e.motion}
    out = []
    for episode in examined:
        original = first.setdefault(episode.motion, episode) if episode.usable and episode.motion else episode
        if original is not episode:
            message = f"all {episode.frames} frames move as in {_name(original)}"
            episode = _with(episode, finding("duplicate.episode", message, _name(original)))
        out.append(episode)
    return out


def _note_near(examined: list[Examined], settings: Settings, known: Sequence[Examined]) -> list[Examined]:
    """Near copies are pointed out, not refused: a second take of one scene is a good episode."""
    usable = [n for n, e in enumerate(examined) if e.usable]
    allowed = settings.profile.thresholds(settings.embodiment, -1)
    out, old = list(examined), len(known)
    every = [*known, *(examined[n] for n in usable)]
    for i, j, distance in near_copies(every, allowed, old):
        original, copy = _name(every[i]), usable[j - old]
        message = f"its joints stay within {distance:.4f} rad of those of {original} in the mean, in the same scene"
        out[copy] = _with(out[copy], finding("duplicate.near", message, original))
    return out


def _note_texts(examined: list[Examined], known: Sequence[Examined]) -> list[Examined]:
    """One note per task whose episodes are told in several ways, at the first that differs from the task's first."""
    by_task: dict[int, list[int]] = defaultdict(list)
    for n, episode in enumerate(examined):
        if episode.usable:
            by_task[episode.task_id].append(n)
    out, told = list(examined), {e.task_id: e for e in reversed(known)}
    for numbers in by_task.values():
        first = told.get(examined[numbers[0]].task_id, examined[numbers[0]])
        others = [n for n in numbers if examined[n].instruction != first.instruction]
        if others:
            texts = len({examined[n].instruction for n in numbers})
            message = f"the task's {len(numbers)} episodes have {texts} instructions, like {first.instruction[:80]!r}"
            out[others[0]] = _with(out[others[0]], finding("language.text-varies", message, _name(first)))
    return out


def _with(episode: Examined, found: Finding) -> Examined:
    verdict = "quarantined" if found.severity == "error" else episode.verdict
    return episode.model_copy(update={"verdict": verdict, "findings": (*episode.findings, found)})


def _name(episode: Examined) -> str:
    return f"task {episode.task_id}, episode {episode.episode_id}"
