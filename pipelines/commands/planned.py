"""How a plan is printed."""

from __future__ import annotations

from pipelines.commands.common import print_json, print_table
from pipelines.estimate import spoken
from pipelines.plan import Plan, Planned


def show(plan: Plan, as_json: bool) -> None:
    """A table and its sum, or one document; what exceeds a budget is said last."""
    if as_json:
        print_json(
            {"stages": [stage.document() for stage in plan.stages], "seconds": plan.seconds, "unknown": plan.unknown}
            | plan.hours.model_dump()
            | {"instead": list(plan.instead), "overspent": list(plan.overspent)}
        )
        return
    columns = ("stage", "takes", "known from", "gpus", "cpus", "pods", "memory", "writes")
    print_table(columns, [_row(stage) for stage in plan.stages], "no stage")
    hours = plan.hours
    doubt = f"; {plan.unknown} stages not counted: nobody knows how long they take" if plan.unknown else ""
    print(
        f"{len(plan.stages)} stages, {spoken(plan.seconds)} one after another, {hours.gpu_hours:.3g} GPU-hours, "
        f"{hours.cpu_hours:.3g} CPU-hours{doubt}"
    )
    if plan.instead:
        print(f"not counted, as a cheaper run takes them instead: {', '.join(plan.instead)}")
    for sentence in plan.overspent:
        print(f"over budget: {sentence}")


def _row(stage: Planned) -> tuple[object, ...]:
    written = "?" if stage.written_bytes is None else _bytes(stage.written_bytes)
    takes = "?" if stage.seconds is None else spoken(stage.seconds)
    known = {"measured": "an earlier run", "recipe": "the recipe", "": ""}[stage.known]
    share = stage.share
    return stage.title, takes, known, f"{share.gpus:g}", f"{share.cpus:g}", stage.nodes or 1, stage.memory, written


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
