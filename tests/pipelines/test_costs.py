"""Costs by run, stage, policy and team, as people ask for them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.open import open_store
from data_contracts.cost import Hours, Share, Usage
from data_contracts.lineage import RunRecord
from pipelines import costs, runs
from pipelines.recipes import recipe

Run = Callable[..., subprocess.CompletedProcess[str]]


def ran(store: Store, run: str, team: str, gpus: float, policy: str = "arm") -> None:
    """A run of two stages of half an hour each, for which its recipe had planned one of a quarter."""
    config = {"policy": policy, "cluster": {"team": team}, "estimates": {"ge_act.adapt": 900}}
    record = RunRecord(
        run=run, pipeline="ge_act", recipe="tiny", config=config, status="succeeded",
        started_at="2030-01-01T00:00:00+00:00", seconds=3600,
    )  # fmt: skip
    runs.write(store, record)
    for n, stage in enumerate(("ge_act.adapt", "ge_act.specialize")):
        usage = Usage(
            run=run, pipeline="ge_act", stage=stage, share=Share(gpus=gpus, cpus=2),
            started_at=f"2030-01-01T00:{30 * n:02}:00+00:00", seconds=1800,
        )  # fmt: skip
        store.overwrite(f"runs/usage/{run}/{stage}.json", usage.model_dump_json().encode())


def table(store: Store, by: str) -> dict[str, float]:
    return {cost.name: cost.used.gpu_hours for cost in costs.of_all(store, by)}


def test_hours_add_up_in_every_way(folder_store: Store, place: Path) -> None:
    ran(folder_store, "one", "lab", 4)
    ran(folder_store, "two", "lab", 2, policy="hand")
    ran(folder_store, "three", "", 1)
    assert table(folder_store, "run") == {"one": 4.0, "two": 2.0, "three": 1.0}
    assert table(folder_store, "team") == {"lab": 6.0, "-": 1.0}
    assert table(folder_store, "policy") == {"arm": 5.0, "hand": 2.0}
    assert table(folder_store, "stage") == {"ge_act.adapt": 3.5, "ge_act.specialize": 3.5}
    with pytest.raises(ConfigurationError, match="team"):
        costs.of_all(folder_store, "colour")


def test_planned_stands_beside_used(folder_store: Store, place: Path) -> None:
    ran(folder_store, "one", "lab", 4)
    adapt, specialize = costs.of_run(folder_store, runs.find(folder_store, "one"))
    assert (adapt.used.gpu_hours, adapt.planned and adapt.planned.gpu_hours) == (2.0, 1.0)
    assert specialize.planned is None, "nobody had said what it takes"
    again = Usage(
        run="one", pipeline="ge_act", stage="ge_act.adapt", share=Share(gpus=4, cpus=2),
        started_at="2030-01-01T02:00:00+00:00", seconds=900,
    )  # fmt: skip
    folder_store.overwrite("runs/usage/one/again.json", again.model_dump_json().encode())
    adapt, _ = costs.of_run(folder_store, runs.find(folder_store, "one"))
    assert (adapt.used.gpu_hours, adapt.attempts) == (3.0, 2)
    assert adapt.planned == Hours(gpu_hours=1.0, cpu_hours=0.5), "nobody plans to fail: once, however often it is tried"


def test_the_command_and_the_report_show_it(orrery: Run, place: Path) -> None:
    store = open_store(str(place / ".orrery" / "store"))
    ran(store, "one", "lab", 4)
    shown = json.loads(orrery("runs", "show", "one", "--json").stdout)
    assert shown["cost"]["gpu_hours"] == 4.0
    by_team = json.loads(orrery("runs", "cost", "--by", "team", "--json").stdout)
    assert by_team["costs"][0]["name"] == "lab"
    assert by_team["costs"][0]["planned_gpu_hours"] == 1.0
    page = Path(json.loads(orrery("runs", "report", "one", "--json").stdout)["report"]).read_text()
    assert "4 GPU-hours and 2 CPU-hours" in page
    [row] = re.findall(r"<tr>(?:(?!</tr>).)*ge_act/ge_act\.adapt(?:(?!</tr>).)*</tr>", page, re.DOTALL)
    cells = [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
    assert cells[1:] == ["2", "1", "1", "0.5", "1"], "GPU-hours, planned, CPU-hours, planned, attempts"


def test_the_recipe_holds_the_budget_and_the_team() -> None:
    built = recipe("robots", "tiny", ["cluster.budget_gpu_hours=2.5", "cluster.team=lab"])
    assert built.budget().gpu_hours == 2.5
    assert built.budget().seconds["ge_act.adapt"] == 40.0
    gated = [runs.begun("r", "p", recipe(track, "tiny")).policy for track in ("robots", "dft", "r_zero")]
    assert gated == ["ge-act", "dft-tiny", "r-zero-tiny"], "or their hours are nobody's"
