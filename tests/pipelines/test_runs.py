"""Runs as the store remembers them: what a crash, another machine or a damaged record makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.store.api import Store
from components.store.status import run_key
from data_contracts.lineage import RunRecord
from pipelines import runs


def record(store: Store, run: str, status: str = "succeeded") -> None:
    head = {"run": run, "pipeline": "ge_base", "recipe": "tiny", "config": {}, "status": status, "started_at": run}
    runs.write(store, RunRecord.model_validate(head))


def test_a_run_is_alive_as_long_as_its_process(place: Path) -> None:
    with runs.alive("one"):
        assert runs.is_alive("one")
    assert list((place / "home" / "locks").iterdir()) == []


def test_a_run_whose_end_could_not_be_recorded_is_not_alive(place: Path, folder_store: Store) -> None:
    """The store goes away: the record says `running` for ever, and only the lock knows better."""
    record(folder_store, "one", "running")
    with pytest.raises(OSError, match="store"), runs.alive("one"):
        raise OSError("the store is gone")
    assert runs.find(folder_store).head.status == "failed"


def test_a_run_of_another_machine_is_believed(place: Path, folder_store: Store) -> None:
    record(folder_store, "elsewhere", "running")
    assert runs.find(folder_store).head.status == "running"


def test_a_damaged_record_hides_no_other_run(place: Path, folder_store: Store) -> None:
    for run in ("one", "two"):
        record(folder_store, run)
    damaged = Path(folder_store.url) / run_key("ge_base", "two")
    damaged.chmod(0o644)
    damaged.write_text("{}")
    assert [run.run for run in runs.read_all(folder_store)] == ["one"]
