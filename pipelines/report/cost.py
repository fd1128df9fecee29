"""What the run cost, beside what its recipe had planned."""

from __future__ import annotations

from components.telemetry.report import Cell, Row, Section, Table
from pipelines.costs import of_run, total
from pipelines.report.reading import Reader


def sections(reader: Reader) -> list[Section]:
    costs = of_run(reader.store, reader.run)
    if not costs:
        return []
    used = total(costs)
    largest = max(max(c.used.gpu_hours or c.used.cpu_hours for c in costs), 1e-9)
    rows: list[Row] = [
        [
            cost.name,
            Cell(_hours(cost.used.gpu_hours), share=(cost.used.gpu_hours or cost.used.cpu_hours) / largest),
            "" if cost.planned is None else _hours(cost.planned.gpu_hours),
            _hours(cost.used.cpu_hours),
            "" if cost.planned is None else _hours(cost.planned.cpu_hours),
            str(cost.attempts),
        ]
        for cost in costs
    ]
    columns = ["Stage", "GPU-hours", "planned", "CPU-hours", "planned", "Attempts"]
    caption = "What stages held while they worked; what was found cost nothing. Planned: the recipe's estimate."
    lead = f"{_hours(used.gpu_hours)} GPU-hours and {_hours(used.cpu_hours)} CPU-hours."
    return [Section("Cost", [Table(columns, rows, caption=caption)], lead=lead)]


def _hours(hours: float) -> str:
    return "0" if not hours else f"{hours:.3g}"
