"""`orrery runs`: what ran, stage by stage, and its report."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.common import JsonOption, StoreOption, open_store, print_json, print_table

if TYPE_CHECKING:
    from components.store.api import Store
    from pipelines.runs import Run

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Runs: list, show, report, cost.")
RunArgument = Annotated[str, typer.Argument(metavar="[RUN|last]", help="A run id, its beginning, or `last`.")]


@app.command("list", epilog="Example: orrery runs list --json")
def list_(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """All runs, newest first."""
    from pipelines import runs

    opened = open_store(store)
    found = runs.read_all(opened)
    if _settled(opened, found):
        found = runs.read_all(opened)
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
    from data_contracts.cost import Hours
    from pipelines import costs, runs
    from pipelines.estimate import spoken

    opened = open_store(store)
    found = runs.find(opened, run)
    if _settled(opened, [found]):
        found = runs.find(opened, run)
    spent = costs.of_run(opened, found)
    total = costs.total(spent)
    if as_json:
        print_json(found.document() | {"cost": total.model_dump() | {"stages": [cost.document() for cost in spent]}})
        return
    held = f"{total.gpu_hours:.3g} GPU-hours, {total.cpu_hours:.3g} CPU-hours"
    print(f"{found.run}  {found.head.pipeline}  {found.head.status}  {spoken(found.head.seconds)}  {held}")
    hours = {cost.name: cost.used for cost in spent}
    none = Hours()
    rows = [
        (s.name, s.status, f"{s.seconds:.1f}", f"{of.gpu_hours:.3g}", f"{of.cpu_hours:.3g}", s.version, s.message)
        for pipeline, s in found.stages
        for of in [hours.get(f"{pipeline}/{s.name}", none)]
    ]
    columns = ("stage", "status", "seconds", "gpu-hours", "cpu-hours", "version", "message")
    print_table(columns, rows, "no stage has started")


@app.command("report", epilog="Example: orrery runs report last")
def report(run: RunArgument = "last", store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Write a run's HTML report again, and print where it is."""
    from pipelines import runs
    from pipelines.report import publish

    opened = open_store(store)
    path = publish(opened, runs.find(opened, run))
    print_json({"run": path.stem, "report": str(path)}) if as_json else print(path)


@app.command("cost", epilog="Example: orrery runs cost --by team --json")
def cost(
    by: Annotated[str, typer.Option("--by", help="stage, run, policy or team.")] = "run",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """GPU-hours and CPU-hours of all runs, the dearest first; planned is what the recipes had estimated."""
    from pipelines import costs

    found = [c.document() for c in costs.of_all(open_store(store), by)]
    if as_json:
        print_json({"by": by, "costs": found})
        return
    numbers = ("gpu_hours", "planned_gpu_hours", "cpu_hours", "planned_cpu_hours")
    rows = [(c["name"], *("" if c[n] is None else f"{c[n]:.3g}" for n in numbers), c["attempts"]) for c in found]
    columns = (by, "gpu-hours", "planned", "cpu-hours", "planned", "attempts")
    print_table(columns, rows, "no run has cost anything yet; try: orrery demo")


def _settled(store: Store, found: list[Run]) -> bool:
    """Whether Kubeflow Pipelines told how runs ended that nobody had followed. One that is away is one warning."""
    going = [run.head for run in found if run.head.status == "running"]
    if not going:
        return False
    from pipelines import kfp_cluster

    try:
        return kfp_cluster.settle(store, going)
    except kfp_cluster.ClusterError as error:
        print(f"warning: what is called running may have ended: {error}", file=sys.stderr)
        return False
