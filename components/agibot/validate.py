"""Validates a whole raw drop: every episode on its own, in parallel, then what only the drop as a whole can tell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from components.agibot.across import compare
from components.agibot.drop import Drop, EpisodeSource
from components.agibot.examine import Examined, Job, Settings, examine, stem
from components.agibot.pool import Failure, run_tasks
from components.agibot.stored import Jobs, forget, open_source
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.open import open_store
from components.telemetry.progress import progress
from data_contracts.catalogue import finding, thresholds
from data_contracts.profile import Profile, load_profile
from data_contracts.report import WEAKER, Decode, Summary, ValidationReport

CAMERAS = ("head_color", "hand_left_color", "hand_right_color")
"""Those of every AgiBot G1 with grippers that show what it does."""


def validate(
    source: Path | str,
    *,
    embodiment: str = "agibot_g1",
    cameras: Sequence[str] = CAMERAS,
    calibration: bool = True,
    repair: bool = True,
    profile: str = "",
    decode: Decode = "full",
    page: Path | None = None,
    workers: int | None = None,
    quiet: bool = False,
    store: Callable[[], Store] = open_store,
) -> ValidationReport:
    """Validate the drop at `source`, as `open_source` finds it. Shows progress on stderr unless `quiet`.

    What lies in a store is fetched episode by episode, and removed once it was examined. With `page`, an HTML report
    with pictures is written there; it takes room for the usable episodes' arrays meanwhile.
    A finding that belongs to no episode is listed under episode_id -1 (and task_id -1 if it belongs to no task).
    Raises ConfigurationError if there is nothing at `source` or the embodiment, a camera or the profile is unknown.
    """
    settings = make_settings(embodiment, cameras, calibration, repair, profile, decode)
    drop = open_source(str(source), store)
    with TemporaryDirectory() as folder:
        scratch, work = Path(folder) / "fetched", Path(folder) if page else None
        with progress(len(drop.episodes), "validating", "episodes", quiet=quiet) as bar:
            examined = examine_drop(drop, settings, work, workers, lambda: bar.advance(1), scratch)
        if page is not None:
            from components.agibot.page import intake_page
            from components.telemetry.report import write

            write(intake_page(str(source), examined, settings, work), page)
    return report(str(source), examined, settings)


def make_settings(
    embodiment: str,
    cameras: Sequence[str],
    calibration: bool,
    repair: bool,
    profile: Profile | str = "",
    decode: Decode = "full",
) -> Settings:
    """Checked settings; a profile that is text names one, or a file. Raises ConfigurationError that lists the known."""
    try:
        known_profile = profile if isinstance(profile, Profile) else load_profile(profile) if profile else Profile()
        settings = Settings(embodiment, tuple(cameras), calibration, repair, known_profile, decode)
        known = [c.name for c in settings.robot.cameras]
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    for camera in cameras:
        if camera not in known:
            raise ConfigurationError(f"{embodiment} has no camera {camera!r}; it has {', '.join(known)}")
    return settings


def examine_drop(
    drop: Drop,
    settings: Settings,
    folder: Path | None = None,
    workers: int | None = None,
    advance: Callable[[], None] | None = None,
    scratch: Path | None = None,
) -> list[Examined]:
    """Every episode's record in key order, then the findings about the drop itself. Equal drops give equal lists.

    With a `folder`, what publishing needs is kept there, and what an earlier start kept is not done again.
    """
    examined = examine_episodes(list(drop.episodes.values()), settings, folder, workers, advance, scratch)
    return compare(examined, settings) + about_drop(drop)


def examine_episodes(
    sources: Sequence[EpisodeSource],
    settings: Settings,
    folder: Path | None = None,
    workers: int | None = None,
    advance: Callable[[], None] | None = None,
    scratch: Path | None = None,
) -> list[Examined]:
    """The record of each episode on its own, in the order of `sources`. Raises StoreError if one can't be brought.

    What is brought from a store stays in `folder` for publishing, or with `scratch` in that until it was examined.
    """
    done = dict[int, Examined]()
    for number, source in enumerate(sources):
        if folder is not None and (known := _kept(folder, *source.key)) is not None:
            done[number] = known
    missing = [n for n in range(len(sources)) if n not in done]
    for _ in done if advance else ():
        advance()  # type: ignore[misc]
    with Jobs([Job(sources[n], settings, str(folder or ""), str(scratch or "")) for n in missing]) as jobs:
        for position, result in run_tasks(examine, jobs, _deadline, workers):
            number = missing[position]
            done[number] = _crashed(jobs[position], result) if isinstance(result, Failure) else result
            if scratch is not None:
                forget(scratch, sources[number])
            elif folder is not None and not done[number].usable:
                forget(folder, sources[number])
            if advance:
                advance()
    return [done[n] for n in range(len(sources))]


def _deadline(job: Job) -> float:
    limits = thresholds()
    return limits.seconds_per_episode + limits.seconds_per_megabyte * job.source.size / 1e6


def _kept(folder: Path, task_id: int, episode_id: int) -> Examined | None:
    """What an earlier start found out about an episode, if it finished with it."""
    path = stem(folder, task_id, episode_id)
    try:
        return Examined.model_validate_json(path.with_name(path.name + ".json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _crashed(job: Job, failure: Failure) -> Examined:
    source = job.source
    names = f"task {source.task_id}, episode {source.episode_id}"
    found = finding("archive.reader-crashed", f"{names} can't be read: {failure.message}", next_blob(job))
    return Examined(
        task_id=source.task_id, episode_id=source.episode_id, verdict="quarantined", decode=job.settings.decode,
        findings=(*source.findings, found), instruction=source.entry.task_name if source.entry else "",
    )  # fmt: skip


def next_blob(job: Job) -> str:
    """A place to start looking at an episode's files."""
    first = next(iter(job.source.blobs()), None)
    return first.name if first else ""


def about_drop(drop: Drop) -> list[Examined]:
    """What was found about the drop or a task as a whole, as records of their own."""
    return [
        Examined(task_id=task, episode_id=episode, verdict="quarantined", findings=tuple(found))
        for (task, episode), found in sorted(drop.findings.items())
    ]


def report(source: str, examined: Iterable[Examined], settings: Settings) -> ValidationReport:
    """The JSON document of `orrery episodes validate`."""
    episodes = list(examined)
    counts = Counter(e.verdict for e in episodes)
    frames = sum(e.frames for e in episodes if e.usable)
    summary = Summary(
        accepted=counts["accepted"], repaired=counts["repaired"], quarantined=counts["quarantined"],
        frames=frames, seconds=round(frames / settings.robot.fps, 6),
    )  # fmt: skip
    return ValidationReport(
        source=source, episodes=tuple(e.as_verdict() for e in episodes), summary=summary, decode=settings.decode,
        weaker=WEAKER[settings.decode],
    )  # fmt: skip


def count_reasons(examined: Iterable[Examined], severity: str = "error") -> dict[str, int]:
    """Episodes by reason code, most frequent first."""
    counts = Counter(code for e in examined for code in {f.code for f in e.findings if f.severity == severity})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def report_json(document: ValidationReport) -> str:
    """Readable JSON of a report."""
    return json.dumps(document.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
