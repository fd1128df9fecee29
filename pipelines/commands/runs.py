"""`orrery runs`: what ran, stage by stage, and its report."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.common import JsonOption, StoreOption, open_store, print_json, print_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Runs: list, show, report.")
RunArgument = Annotated[str, typer.Argument(metavar="[RUN|last]", help="A run id, its beginning, or `last`.")]


@app.command("list", epilog="Example: orrery runs list --json")
def list_(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """All runs, newest first."""
    from pipelines import runs

    found = runs.read_all(open_store(store))
    if as_json:
        print_json({"runs": [run.summary() for run in found]})
        return
    columns = ("run", "pipeline", "recipe", "status", "stages", "seconds")
    print_table(
        columns, [[s[c] for c in columns] for s in (r.summary() for r in found)], "no runs yet; try: orrery demo"
    )


@app.command("show", epilog="Example: orrery runs show last --json")
def show(run: RunArgument = "last", store: StoreOption = None, as_json: JsonOption = False) -> None:
    """One run: every stage with its status, seconds and output version."""
    from pipelines import runs
    from pipelines.estimate import spoken

    found = runs.find(open_store(store), run)
    if as_json:
        print_json(found.document())
        return
    print(f"{found.run}  {found.head.pipeline}  {found.head.status}  {spoken(found.head.seconds)}")
    rows = [(s.name, s.status, f"{s.seconds:.1f}", s.version, s.message) for _, s in found.stages]
    print_table(("stage", "status", "seconds", "version", "message"), rows, "no stage has started")


@app.command("report", epilog="Example: orrery runs report last")
def report(run: RunArgument = "last", store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Write a run's HTML report again, and print where it is."""
    from pipelines import runs
    from pipelines.report import publish

    opened = open_store(store)
    path = publish(opened, runs.find(opened, run))
    print_json({"run": path.stem, "report": str(path)}) if as_json else print(path)
