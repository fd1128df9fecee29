"""`orrery episodes`: record in simulation, and validate a raw drop."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.common import JsonOption, print_json, print_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Robot episodes: record, validate.")


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
        Path, typer.Argument(metavar="SOURCE", help="A raw drop: a folder with task_info and its parts.")
    ],
    embodiment: Annotated[str, typer.Option("--embodiment", help="The robot.")] = "agibot_g1",
    profile: Annotated[
        str, typer.Option("--profile", help="A team's own thresholds: a JSON file, or 'simulation'.")
    ] = "",
    repair: Annotated[bool, typer.Option("--repair/--no-repair", help="Mend what can be mended provably.")] = True,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a report with pictures there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every episode of a raw drop. Exit code 1 if one must be quarantined."""
    from components.agibot import validate as intake

    report = intake.validate(source, embodiment=embodiment, profile=profile, repair=repair, page=html)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        rows = [
            (e.task_id, e.episode_id, e.verdict, f.code if f else "", f.message if f else "", f.where if f else "")
            for e in report.episodes
            for f in (e.findings or (None,))
        ]
        print_table(("task", "episode", "verdict", "reason", "what was found", "where"), rows, "no episodes")
        total = report.summary
        print(f"{total.accepted} accepted, {total.repaired} repaired, {total.quarantined} quarantined")
    raise typer.Exit(1 if report.summary.quarantined else 0)


def _plan(text: str) -> dict[str, object]:
    name, _, level = text.partition(":")
    return {"task": name, "level": level or 1}
