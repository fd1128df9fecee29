"""`orrery schedule`: pipelines that run by themselves, at Kubeflow Pipelines."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from pipelines.commands.common import (
    EndpointOption,
    JsonOption,
    RecipeOption,
    SetOption,
    StoreOption,
    open_store,
    print_json,
    print_table,
)

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Recurring runs: create, list, show, pause, resume, delete."
)
ScheduleArgument = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Its name, or the beginning of its id.")]


@app.command("create", epilog='Example: orrery schedule create retrain --cron "0 0 3 * * *" --set drop=s3://robots/in')
def create(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="Which, e.g. retrain.")],
    cron: Annotated[str, typer.Option("--cron", help="Second, minute, hour, day, month, weekday; in UTC.")],
    name: Annotated[str | None, typer.Option("--name", help="Default: the pipeline's and recipe's.")] = None,
    recipe: RecipeOption = "tiny",
    settings: SetOption = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", metavar="NAME=PREFIX", help="A version to start from.")
    ] = None,
    endpoint: EndpointOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a pipeline by a clock: one run at a time, and none for the times that were missed."""
    from pipelines import runner, schedule
    from pipelines.catalog import find
    from pipelines.kfp_cluster import connect, parameters
    from pipelines.recipes import recipe as load

    chosen = find(pipeline)
    schedule.check_cron(cron)
    built = load(chosen.track, recipe, settings or ())
    opened = open_store(store)
    given = runner.inputs(opened, chosen, built, inputs or ())
    parameters(chosen, built, opened.url, given)  # what is wrong here is said first
    client = connect(endpoint)
    called = name or f"{chosen.name.replace('_', '-')}-{built.name}"
    _show(schedule.create(client, chosen, built, opened.url, given, cron, called).document(), as_json)


@app.command("list", epilog="Example: orrery schedule list --json")
def list_(endpoint: EndpointOption = None, as_json: JsonOption = False) -> None:
    """Every schedule, and when it comes next."""
    from pipelines import schedule
    from pipelines.kfp_cluster import connect

    found = [s.document() for s in schedule.list_all(connect(endpoint))]
    if as_json:
        print_json({"schedules": found})
        return
    rows = [(s["name"], s["status"], s["cron"], _first(s), str(s["id"])[:8]) for s in found]
    print_table(("schedule", "status", "cron", "next", "id"), rows, "no schedules yet; see: orrery schedule create -h")


@app.command("show", epilog="Example: orrery schedule show retrain-tiny")
def show(name: ScheduleArgument, endpoint: EndpointOption = None, as_json: JsonOption = False) -> None:
    """One schedule and its next times, on this machine's clock and in UTC."""
    from pipelines import schedule
    from pipelines.kfp_cluster import connect

    _show(schedule.find(connect(endpoint), name).document(), as_json)


@app.command("pause", epilog="Example: orrery schedule pause retrain-tiny")
def pause(name: ScheduleArgument, endpoint: EndpointOption = None, as_json: JsonOption = False) -> None:
    """Start no more runs until it is resumed; one that runs goes on."""
    from pipelines import schedule
    from pipelines.kfp_cluster import connect

    client = connect(endpoint)
    _show(schedule.pause(client, schedule.find(client, name)).document(), as_json)


@app.command("resume", epilog="Example: orrery schedule resume retrain-tiny")
def resume(name: ScheduleArgument, endpoint: EndpointOption = None, as_json: JsonOption = False) -> None:
    """Start runs again, from the next time on."""
    from pipelines import schedule
    from pipelines.kfp_cluster import connect

    client = connect(endpoint)
    _show(schedule.resume(client, schedule.find(client, name)).document(), as_json)


@app.command("delete", epilog="Example: orrery schedule delete retrain-tiny")
def delete(name: ScheduleArgument, endpoint: EndpointOption = None, as_json: JsonOption = False) -> None:
    """Remove a schedule; its runs and what they made stay."""
    from pipelines import schedule
    from pipelines.kfp_cluster import connect

    client = connect(endpoint)
    found = schedule.find(client, name)
    schedule.delete(client, found)
    print_json({"deleted": found.id}) if as_json else print(f"deleted {found.name} ({found.id})")


def _show(document: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    print(f"{document['name']}  {document['status']}  cron {document['cron']}  {document['id']}")
    for text in _times(document) or ["none while it is paused"]:
        print(f"next  {text}")


def _times(document: dict[str, object]) -> list[str]:
    from pipelines.schedule import both_clocks

    times = document["next"]
    assert isinstance(times, list)
    return [both_clocks(datetime.fromisoformat(time)) for time in times]


def _first(document: dict[str, object]) -> str:
    return next(iter(_times(document)), "")
