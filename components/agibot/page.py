"""The intake's report for people: one HTML page per drop, with every bad episode's reason, place, picture and mend."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from components.agibot.checks.places import spans_in
from components.agibot.contract import Outcome
from components.agibot.copies import POINTS, points_of
from components.agibot.drift import by_chance, distance, places
from components.agibot.drop import NOWHERE
from components.agibot.examine import Examined, stem
from components.agibot.reading import Settings
from components.telemetry.charts import Curve, curves
from components.telemetry.report import Block, Cell, Details, Figure, Report, Section, Table, Text, Tone
from data_contracts.catalogue import catalogue
from data_contracts.reasons import Severity
from data_contracts.report import WEAKER, Decode

MOST_SHOWN = 40
"""Episodes that are shown with pictures; a page of thousands could not be opened."""
_SAMPLED = "Not every frame was decoded, so that not all was checked as in a full examination."
_ONE_EACH = "Of the usable episodes, one value per episode."
_BEFORE = (
    " Before: the last version's episodes. Distance: Kolmogorov and Smirnov's, 0 .. 1, from those of the same tasks;"
    " chance alone exceeds the number behind it once in a thousand times."
)
_TONES: dict[Severity, Tone] = {"error": "bad", "warning": "warn", "info": "plain"}
_OUTCOMES = {True: Cell("kept", "good"), False: Cell("broken", "bad"), None: Cell("not judged", "plain")}
_VERDICTS: dict[str, Tone] = {"quarantined": "bad", "repaired": "warn", "accepted": "good"}


def intake_page(
    source: str,
    examined: Sequence[Examined],
    settings: Settings,
    work: Path | None = None,
    outcomes: Sequence[Outcome] = (),
    known: Sequence[Examined] = (),
) -> Report:
    """The page about a drop that is joined to the episodes `known`.

    `work` holds the film strips that `components.agibot.examine.keep` wrote.
    """
    verdicts = Counter(e.verdict for e in examined)
    usable = [e for e in examined if e.usable]
    seconds = sum(e.frames for e in usable) / settings.robot.fps
    bad = [e for e in examined if any(f.severity != "info" for f in e.findings)]
    bad.sort(key=lambda e: e.usable)  # what is refused comes first
    sections = [
        Section("Reasons", [_reasons(examined)], "What was found, by how many episodes it was found in."),
        *([Section("Sampled decoding", [_weaker(settings.decode)], _SAMPLED)] if settings.decode != "full" else []),
        Section("Tasks", [_tasks(examined, settings.robot.fps, known)]),
        *_by_hand(examined, settings),
        *([Section("Contract", [_contract(outcomes)])] if outcomes else []),
        Section("Distributions", [_distributions(usable, known)], _ONE_EACH + (_BEFORE if known else "")),
        Section("Episodes", list(_episodes(bad, settings, work)), _episodes_lead(bad)),
    ]
    return Report(
        title="Intake report", subtitle=source, sections=sections,
        status=f"{verdicts['quarantined']} quarantined" if verdicts["quarantined"] else "all usable",
        tone="bad" if verdicts["quarantined"] else "good",
        facts=[
            *((name, str(verdicts[name])) for name in ("accepted", "repaired", "quarantined")),
            ("usable", f"{seconds / 60:.1f} min"), ("robot", settings.embodiment), ("profile", settings.profile.name),
        ],
    )  # fmt: skip


def _reasons(examined: Sequence[Examined]) -> Block:
    counts = Counter(code for e in examined for code in {f.code for f in e.findings})
    if not counts:
        return Text("Nothing was found.", "good")
    rows = [
        (
            Cell(code, code=True), Cell(catalogue()[code].severity, _TONES[catalogue()[code].severity]),
            Cell(str(count), share=count / len(examined)), catalogue()[code].meaning, catalogue()[code].mend,
        )
        for code, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]  # fmt: skip
    return Table(("reason", "severity", "episodes", "what it means", "what to do"), rows)


def _weaker(decode: Decode) -> Table:
    return Table(
        ("reason", "how it was checked"), [(Cell(code, code=True), how) for code, how in WEAKER[decode].items()]
    )


def _tasks(examined: Sequence[Examined], fps: int, known: Sequence[Examined]) -> Table:
    before = Counter(e.task_id for e in known)
    by_task: dict[int, list[Examined]] = defaultdict(list)
    for episode in examined:
        if episode.task_id != NOWHERE:
            by_task[episode.task_id].append(episode)
    rows: list[tuple[str | Cell, ...]] = []
    for task, episodes in sorted(by_task.items()):
        usable = [e for e in episodes if e.usable]
        texts = sorted({e.instruction for e in episodes if e.instruction})
        more = f" and {len(texts) - 2} more" if len(texts) > 2 else ""
        share = len(usable) / len(episodes)
        rows.append(
            (
                str(task), ", ".join(texts[:2]) + more, str(len(episodes)),
                Cell(f"{len(usable)} ({share:.0%})", "good" if share == 1 else "warn", share=share),
                f"{sum(e.frames for e in usable) / fps / 60:.1f}", *([str(before[task])] if known else []),
            )
        )  # fmt: skip
    columns = ("task", "instructions", "episodes", "usable", "minutes", *(["in the last version"] if known else []))
    return Table(columns, rows)


def _by_hand(examined: Sequence[Examined], settings: Settings) -> Iterator[Section]:
    """Episodes that a person accepted; and acceptances that this drop has no use for, for they may be mistaken."""
    rows = [(_name(e), Cell(e.accepted, "warn")) for e in examined if e.accepted]
    used = {e.key for e in examined if e.accepted}
    rows += [
        (f"task {a.task_id}, episode {a.episode_id}", Cell(f"by {a.by}: not needed, or not in this drop", "plain"))
        for key, a in settings.profile.acceptances.items()
        if key not in used
    ]
    if rows:
        lead = "In spite of errors, by the profile's `accept`; the errors are shown as warnings."
        yield Section("Accepted by hand", [Table(("episode", "accepted"), rows)], lead)


def _contract(outcomes: Sequence[Outcome]) -> Table:
    rows = [
        (
            Cell(o.name, code=True), o.column, o.expectation,
            Cell(o.severity, "bad" if o.severity == "critical" else "warn"), o.observed, _OUTCOMES[o.passed], o.why,
        )
        for o in outcomes
    ]  # fmt: skip
    return Table(("name", "value", "expectation", "severity", "observed", "outcome", "why"), rows)


def _distributions(usable: Sequence[Examined], known: Sequence[Examined]) -> Block:
    names = sorted({name for e in usable for name in e.aggregates})
    if not names:
        return Text("There is no usable episode.", "bad")
    rows = []
    for name in names:
        values = np.array([e.aggregates[name] for e in usable if name in e.aggregates])
        quantiles = np.quantile(values, (0.0, 0.1, 0.5, 0.9, 1.0))
        before = _before(name, usable, known) if known else ()
        rows.append((name.replace("_", " "), *(f"{q:.4g}" for q in quantiles), *before))
    columns = ("value", "least", "10 %", "median", "90 %", "most")
    return Table((*columns, "before: 10 %", "median", "90 %", "distance") if known else columns, rows)


def _before(name: str, usable: Sequence[Examined], known: Sequence[Examined]) -> tuple[str, ...]:
    """Of one value: three quantiles of the last version's episodes, and how far the new ones are from those."""
    values = np.array([e.aggregates[name] for e in known if name in e.aggregates])
    if not len(values):
        return ("",) * 4
    spread = np.quantile(values, (0.1, 0.5, 0.9))
    found = places(usable, known, name, resolution=1e-9 + 1e-6 * float(np.abs(values).max()))
    compared = np.isfinite(found.least)
    if not compared.any():
        return (*(f"{q:.4g}" for q in spread), "other tasks")
    far, chance = distance(found.least[compared], found.most[compared]), by_chance(found.count, found.size)
    return (*(f"{q:.4g}" for q in spread), f"{far:.2f} (chance {min(chance, 1):.2f})")


def _episodes_lead(bad: Sequence[Examined]) -> str:
    if not bad:
        return "No episode has an error or a warning."
    rest = len(bad) - MOST_SHOWN
    have = "1 episode has" if len(bad) == 1 else f"{len(bad)} episodes have"
    return f"{have} errors or warnings" + (f"; the first {MOST_SHOWN} are shown." if rest > 0 else ".")


def _episodes(bad: Sequence[Examined], settings: Settings, work: Path | None) -> Iterator[Block]:
    for number, episode in enumerate(bad[:MOST_SHOWN]):
        codes = ", ".join(dict.fromkeys(f.code for f in episode.findings if f.severity != "info"))
        title = f"{_name(episode)}: {episode.verdict}, {codes}"
        yield Details(title, list(_episode(episode, settings, work)), open=number < 3)


def _episode(episode: Examined, settings: Settings, work: Path | None) -> Iterator[Block]:
    rows = [
        (Cell(f.code, _TONES[f.severity], code=True), f.message, f.where, catalogue()[f.code].mend)
        for f in episode.findings
    ]
    yield Table(("reason", "what was found", "where", "what to do"), rows)
    strip = stem(work, *episode.key) if work is not None else None
    if strip is not None and (path := strip.with_name(strip.name + ".jpg")).exists():
        camera = settings.cameras[0]
        yield Figure(
            path.read_bytes(), f"{camera}, evenly spread over the episode", f"film strip of {_name(episode)}",
            wide=True, media_type="image/jpeg",
        )  # fmt: skip
    if episode.trajectory and episode.frames > 1:
        yield _joint_plot(episode)


def _joint_plot(episode: Examined) -> Figure:
    """Each arm's fastest joints over the episode, with the frames that findings name shaded."""
    points = points_of(episode.trajectory)
    at = np.linspace(0, episode.frames - 1, POINTS)
    busiest = np.argsort(-np.ptp(points, axis=0))[:4]
    lines = [Curve(f"joint {joint}", at.tolist(), points[:, joint].tolist()) for joint in sorted(busiest)]
    spans = [span for f in episode.findings if f.severity != "info" for span in spans_in(f.where)]
    chart = curves(lines, "frame", "state/joint/position (rad)", shaded=sorted(set(spans)))
    return Figure(chart, "the four joints that move most, at 64 points; shaded is what the findings name", wide=True)


def _name(episode: Examined) -> str:
    if episode.task_id == NOWHERE:
        return "the drop itself"
    return f"task {episode.task_id}" + ("" if episode.episode_id == NOWHERE else f", episode {episode.episode_id}")
