"""`orrery episodes`: record in simulation, validate a raw drop, look at an episode."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.commands.common import JsonOption, StoreOption, open_store, print_json, print_table

if TYPE_CHECKING:
    from data_contracts.report import ValidationReport

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Robot episodes: record, validate, view.")


@app.command("record", epilog="Example: orrery episodes record drop --task press:1 --episodes 4 --seed 7")
def record(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the raw drop.")],
    task: Annotated[
        list[str] | None, typer.Option("--task", metavar="NAME[:LEVEL]", help="May be given again.")
    ] = None,
    episodes: Annotated[int, typer.Option("--episodes", min=1, help="Of every task.")] = 4,
    embodiment: Annotated[str, typer.Option("--embodiment", help="The robot.")] = "agibot_g1",
    layout: Annotated[str, typer.Option("--layout", help="folders or tars.")] = "folders",
    depth: Annotated[bool, typer.Option("--depth", help="Also the head camera's depth.")] = False,
    fisheyes: Annotated[bool, typer.Option("--fisheyes", help="Also the fisheye cameras.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Record episodes in simulation, in the AgiBot-World raw layout. Killed and started again, it goes on."""
    from components.robots.config import RecordConfig
    from components.robots.record import completed, record_drop
    from components.store.errors import ConfigurationError
    from components.telemetry.progress import progress
    from pipelines.recipes.overrides import checked

    plans = [_plan(text) for text in task or ["press:1"]]
    data = {
        "embodiment": embodiment,
        "tasks": plans,
        "episodes": episodes,
        "layout": layout,
        "depth": depth,
        "fisheyes": fisheyes,
    }
    config = checked(RecordConfig, data, "recording")
    if out.exists():
        raise ConfigurationError(f"{out} is there already; name a new folder, or remove it")
    part, scratch = (out.with_name(f".{out.name}.{name}") for name in ("part", "scratch"))
    shutil.rmtree(part, ignore_errors=True)
    for folder in (part, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    with progress(config.total, "recording", "episodes", initial=completed(config, seed, scratch)) as bar:
        metrics = record_drop(config, seed, part, scratch, advance=bar.advance)
    part.rename(out)
    shutil.rmtree(scratch)
    if as_json:
        print_json({"drop": str(out), "metrics": metrics})
    else:
        print(
            f"{out}: {metrics['episodes']} episodes, {metrics['frames']} frames; next: orrery episodes validate {out}"
        )


@app.command("validate", epilog="Example: orrery episodes validate drop --json")
def validate(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A raw drop: a folder with task_info and its parts, a tar, s3://bucket/prefix, or a place in the "
            "store.",
        ),
    ],
    embodiment: Annotated[str, typer.Option("--embodiment", help="The robot.")] = "agibot_g1",
    cameras: Annotated[
        list[str] | None,
        typer.Option("--camera", metavar="NAME", help="A camera that every episode must have; may be given again."),
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", help="A team's own thresholds: a JSON file, or 'simulation'.")
    ] = "",
    decode: Annotated[
        Literal["full", "sampled"],
        typer.Option(
            "--decode",
            help="full decodes every frame. sampled counts packets and decodes at most eight key frames of each video: "
            "ten times faster on episodes of a minute. It misses damage and black, blurred or frozen pictures between "
            "those, swapped hands, and depth images that are not among eight.",
        ),
    ] = "full",
    repair: Annotated[bool, typer.Option("--repair/--no-repair", help="Mend what can be mended provably.")] = True,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a report with pictures there.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every episode of a raw drop. Exit code 1 if one must be quarantined."""
    from components.agibot import validate as intake

    report = intake.validate(
        source, embodiment=embodiment, cameras=cameras or intake.CAMERAS, profile=profile, decode=decode, repair=repair,
        page=html, store=lambda: open_store(store),
    )  # fmt: skip
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print(report)
    raise typer.Exit(1 if report.summary.quarantined else 0)


@app.command("view", epilog="Example: orrery episodes view drop --episode 1/100 --save episode.rrd")
def view(
    source: Annotated[
        str,
        typer.Argument(metavar="DROP|DATASET", help="A raw drop, a folder or a tar; or NAME[/VERSION] of a dataset."),
    ],
    episode: Annotated[
        str, typer.Option("--episode", help="TASK/EPISODE of a drop, or a dataset's index; else the first.")
    ] = "",
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write an .rrd file instead of opening a viewer.")
    ] = None,
    embodiment: Annotated[str, typer.Option("--embodiment", help="The robot of a drop.")] = "agibot_g1",
    profile: Annotated[str, typer.Option("--profile", help="Thresholds for a drop's findings.")] = "",
    store: StoreOption = None,
) -> None:
    """Show one episode in Rerun: cameras, states, commands, steps and findings on one time line."""
    from components.agibot.dataset import Dataset
    from components.agibot.view import of_dataset, of_drop, show, viewer
    from components.store.files import scratch_folder
    from components.store.records import lay_out
    from pipelines.commands.datasets import find

    viewer()  # before anything is read
    if Path(source).exists():
        shown = of_drop(Path(source), episode, embodiment, profile)
    else:
        opened = open_store(store)
        record = find(opened, source)
        with scratch_folder("view-") as folder:
            wanted = ("manifest.json", "meta/", "data/", "videos/")
            shown = of_dataset(Dataset.open(lay_out(opened, record, folder / record.version, wanted)), episode)
    show(shown, save)
    where = f"written to {save}" if save is not None else "shown in Rerun's viewer"
    print(f"{shown.name}: {shown.frames} frames, {len(shown.films)} cameras, {len(shown.findings)} findings; {where}")


def _print(report: ValidationReport) -> None:
    """What was found, the reasons by frequency, and the sums. Episodes without a finding are only counted."""
    rows = [
        (*("" if n < 0 else n for n in (e.task_id, e.episode_id)), e.verdict, f.severity, f.code, f.message, f.where)
        for e in report.episodes
        for f in e.findings
    ]
    columns = ("task", "episode", "verdict", "severity", "reason", "what was found", "where")
    print_table(columns, rows, "nothing was found")
    reasons = Counter((f.severity, f.code) for e in report.episodes for f in {f.code: f for f in e.findings}.values())
    if reasons:
        print()
        ordered = sorted(reasons.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
        print_table(("severity", "reason", "episodes"), [(*key, count) for key, count in ordered], "")
    if report.weaker:
        print(f"\n{report.decode} decoding: what was checked on samples, or not at all")
        print_table(("reason", "how"), sorted(report.weaker.items()), "")
    total = report.summary
    minutes = f"{total.frames} usable frames, {total.seconds / 60:.1f} minutes"
    print(f"{total.accepted} accepted, {total.repaired} repaired, {total.quarantined} quarantined; {minutes}")


def _plan(text: str) -> dict[str, object]:
    name, _, level = text.partition(":")
    return {"task": name, "level": level or 1}
