"""The report of a run: one HTML file that holds all there is to see, down to hashes. It reads only the store."""

from __future__ import annotations

from pathlib import Path

from components.store.api import Store
from components.store.status import run_key
from components.telemetry import report as page
from pipelines import runs
from pipelines.estimate import spoken
from pipelines.report import (
    arms,
    cost,
    data,
    evaluation,
    language,
    lineage,
    r_zero,
    release,
    rollouts,
    stages,
    training,
)
from pipelines.report.reading import Reader

_TONES: dict[str, page.Tone] = {"succeeded": "good", "failed": "bad", "running": "busy"}


def assemble(store: Store, run: runs.Run) -> page.Report:
    """The report of `run`. Sections appear only if what they show exists."""
    reader = Reader(store, run)
    sections = [
        *stages.sections(reader),
        *arms.sections(reader),
        *r_zero.sections(reader),
        *data.sections(reader),
        *training.sections(reader),
        *rollouts.sections(reader),
        *evaluation.sections(reader),
        *language.sections(reader),
        *release.sections(reader),
        *cost.sections(reader),
        *lineage.sections(reader),
    ]
    head = run.head
    cached = sum(stage.status == "cached" for _, stage in run.stages)
    facts = [
        ("Recipe", head.recipe),
        ("Started (UTC)", head.started_at[:19].replace("T", " ")),
        ("Took", spoken(head.seconds)),
        ("Stages", f"{len(run.stages)}" + (f", {cached} already there" if cached else "")),
        *evaluation.facts(reader),
        *release.facts(reader),
    ]
    return page.Report(
        title=f"Run {run.run}",
        subtitle="Robot episodes in, versioned and evaluated policies out."
        if head.pipeline == runs.GROUP
        else head.pipeline,
        status=head.status,
        tone=_TONES[head.status],
        facts=facts,
        sections=sections,
    )


def publish(store: Store, run: runs.Run) -> Path:
    """Write the report to `.orrery/reports/<run>.html` here and to `runs/<pipeline>/<run>/report.html` in the store."""
    path = page.write(assemble(store, run), runs.home() / "reports" / f"{run.run}.html")
    store.overwrite(run_key(run.head.pipeline, run.run, "report.html"), path.read_bytes())
    return path
