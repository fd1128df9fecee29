"""Stages are built once, survive kills, and publish all or nothing."""

from __future__ import annotations

import errno
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from components.store import code
from components.store.api import Store
from components.store.cost import BUDGET
from components.store.errors import ConfigurationError, IntegrityError, NotFound, StoreError
from components.store.open import open_store
from components.store.records import find_records, load_record, read_input, record_key, reference
from components.store.stage import Workspace, run_stage
from components.store.status import RUN_OF, StatusWriter, conclude, run_key
from data_contracts.base import Contract
from data_contracts.lineage import RunRecord, StageRecord, StageStatus

StartToy = Callable[..., "subprocess.Popen[str]"]


def builds(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_second_call_finds_the_version(store: Store, toy_module: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = toy_module.toy(store, toy_module.ToyConfig(), 1, log=log)
    second = toy_module.toy(open_store(store.url), toy_module.ToyConfig(), 1, log=log)
    assert first == second == load_record(store, first.prefix)
    assert builds(log) == 1
    assert [o.path for o in first.objects] == ["folder/data.bin", "seed.txt"]
    assert all(store.read(f"{first.prefix}/{o.path}", o.sha256) is not None for o in first.objects)
    assert first.config == {"size": 3, "rate": 0.5}
    assert first.metrics == {"resumed": False, "size": 3}
    assert first.peak_memory_bytes > 1 << 20
    assert list(find_records(store, "models")) == [first]
    assert list(store.list("claims")) == [], "the claim outlives the publishing"


def test_everything_that_goes_in_names_the_version(folder_store: Store, toy_module: ModuleType) -> None:
    toy, config = toy_module.toy, toy_module.ToyConfig
    base = toy(folder_store, config(), 0)
    other_source = toy(folder_store, config(size=9), 0)
    versions = {
        "base": base.version,
        "config": other_source.version,
        "seed": toy(folder_store, config(), 1).version,
        "code": toy(folder_store, config(), 0, sources=("components/store/files.py",)).version,
        "input": toy(folder_store, config(), 0, source=base).version,
        "other input": toy(folder_store, config(), 0, source=other_source).version,
    }
    assert len(set(versions.values())) == len(versions), versions


def test_code_fingerprint_follows_every_byte_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of any source file must rebuild; compiled files must not."""
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    package = tmp_path / "package"
    (package / "__pycache__").mkdir(parents=True)
    (package / "a.py").write_text("x = 1")
    (package / "data.json").write_text("{}")

    def now() -> str:
        code.source_fingerprint.cache_clear()
        return code.source_fingerprint(("package",))

    first = now()
    (package / "__pycache__" / "a.pyc").write_text("compiled")
    assert now() == first
    (package / "a.py").write_text("x = 2")
    second = now()
    (package / "data.json").rename(package / "other.json")
    third = now()
    assert len({first, second, third}) == 3
    code.source_fingerprint.cache_clear()
    with pytest.raises(ConfigurationError, match="no/such/folder"):
        code.source_fingerprint(("no/such/folder",))


def test_inputs_are_verified_files_under_their_names(store: Store, toy_module: ModuleType) -> None:
    source = toy_module.toy(store, toy_module.ToyConfig(size=5), 0)

    def build(ws: Workspace) -> dict[str, int]:
        assert ws.fetch("source", "folder/data.bin").read_bytes() == bytes(5)
        tree = ws.fetch_tree("source")
        assert sorted(p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()) == [
            "folder/data.bin",
            "seed.txt",
        ]
        assert [p.name for p in ws.fetch_tree("source", "folder").iterdir()] == ["data.bin"]
        with pytest.raises(ConfigurationError, match="source"):
            ws.fetch("sauce", "seed.txt")
        with pytest.raises(StoreError, match="nothing below"):
            ws.fetch_tree("source", "seed")  # a prefix is a folder, not the start of a name
        (ws.out / "x").write_bytes(b"x")
        return {}

    record = run(store, build, {"source": source})
    assert record.inputs["source"] == source.as_input()
    assert read_input(store, record.inputs["source"]) == source


def run(store: Store, build: Callable[[Workspace], dict[str, int]], inputs: dict[str, StageRecord]) -> StageRecord:
    return run_stage(
        store=store, stage="t.s", kind="models", name="t", inputs=inputs, config=Contract(), seed=0,
        sources=("components/store/keys.py",), build=build,
    )  # fmt: skip


def test_failed_build_publishes_nothing_and_keeps_scratch(store: Store) -> None:
    def fails(ws: Workspace) -> dict[str, int]:
        (ws.out / "partial").write_bytes(b"x")
        (ws.scratch / "checkpoint").write_text("step 5")
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        run(store, fails, {})
    assert list(store.list("")) == []

    def works(ws: Workspace) -> dict[str, int]:
        assert list(ws.out.iterdir()) == [], "a failed attempt's files must not be published"
        assert (ws.scratch / "checkpoint").read_text() == "step 5"
        (ws.out / "whole").write_bytes(b"x")
        return {}

    assert [o.path for o in run(store, works, {}).objects] == ["whole"]


def test_killed_while_building_goes_on_from_scratch(
    store: Store, start_toy: StartToy, toy_module: ModuleType, tmp_path: Path
) -> None:
    process = start_toy(store.url, tmp_path / "log", "hang-building")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait(10)
    assert list(store.list("models")) == []
    record = toy_module.toy(store, toy_module.ToyConfig(), 0, log=tmp_path / "log")
    assert record.metrics["resumed"] is True
    assert [o.path for o in record.objects] == ["folder/data.bin", "seed.txt"]


def test_killed_while_publishing_does_not_build_again(
    store: Store, start_toy: StartToy, toy_module: ModuleType, tmp_path: Path
) -> None:
    """Finished work survives even if its bytes would come out different the next time."""
    process = start_toy(store.url, tmp_path / "log", "random-hang-uploading")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait(10)
    assert list(find_records(store, "models")) == []
    record = toy_module.toy(store, toy_module.ToyConfig(), 0, log=tmp_path / "log", behaviour="random")
    assert builds(tmp_path / "log") == 1
    assert all(store.read(f"{record.prefix}/{o.path}", o.sha256) is not None for o in record.objects)


def test_another_machine_replaces_the_orphans_of_a_lost_one(
    store: Store, start_toy: StartToy, toy_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine dies with its disk while publishing; the next one builds other bytes and must not mix them."""
    monkeypatch.setattr("components.store.claim.LEASE_SECONDS", 1.0)
    process = start_toy(store.url, tmp_path / "log", "random-hang-uploading")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait(10)
    monkeypatch.setenv("ORRERY_CACHE", str(tmp_path / "other machine"))
    record = toy_module.toy(store, toy_module.ToyConfig(), 0, log=tmp_path / "log", behaviour="random")
    assert builds(tmp_path / "log") == 2
    assert all(store.read(f"{record.prefix}/{o.path}", o.sha256) is not None for o in record.objects)


def test_two_builders_at_once_build_once(store: Store, start_toy: StartToy, tmp_path: Path) -> None:
    processes = [start_toy(store.url, tmp_path / "log", "slow") for _ in range(2)]
    results = [p.communicate(timeout=60) for p in processes]
    assert [p.returncode for p in processes] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert builds(tmp_path / "log") == 1


def test_builders_of_other_versions_do_not_wait_for_each_other(
    folder_store: Store, start_toy: StartToy, toy_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two recipes on one machine: the lock is the version's, not the stage's."""
    process = start_toy(folder_store.url, tmp_path / "log", "hang-building")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    monkeypatch.setattr("components.store.stage._WAIT_FOR_BUILDER_SECONDS", 1.0)
    try:
        assert toy_module.toy(folder_store, toy_module.ToyConfig(size=4), 0).metrics["size"] == 4
    finally:
        process.kill()
        process.wait(10)


def test_empty_or_reserved_output_is_refused(folder_store: Store) -> None:
    with pytest.raises(StoreError, match="without writing any file"):
        run(folder_store, lambda ws: {}, {})

    def own_record(ws: Workspace) -> dict[str, int]:
        (ws.out / "record.json").write_text("{}")
        return {}

    with pytest.raises(ConfigurationError, match=r"record\.json"):
        run(folder_store, own_record, {})


def test_metric_that_is_not_finite_is_refused(folder_store: Store) -> None:
    def diverged(ws: Workspace) -> dict[str, float]:
        (ws.out / "x").write_text("x")
        return {"loss": float("nan")}

    with pytest.raises(ConfigurationError, match="metrics"):
        run(folder_store, diverged, {})  # type: ignore[arg-type]
    assert list(folder_store.list("")) == []


def test_full_disk_while_building_is_one_clear_error(folder_store: Store) -> None:
    def fills(ws: Workspace) -> dict[str, int]:
        raise OSError(errno.ENOSPC, "No space left on device", str(ws.out / "weights"))

    with pytest.raises(StoreError, match="full; free some space"):
        run(folder_store, fills, {})


def test_status_tells_how_the_stage_went(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORRERY_PIPELINE", "p")
    monkeypatch.setenv("ORRERY_RUN", "r1")

    def status() -> StageStatus:
        return StageStatus.model_validate_json(store.read("runs/p/r1/stages/t.s.json"))

    def fails(ws: Workspace) -> dict[str, int]:
        assert status().status == "running"
        raise StoreError("the reason\nin two lines")

    def works(ws: Workspace) -> dict[str, int]:
        (ws.out / "x").write_text("x")
        return {}

    with pytest.raises(StoreError):
        run(store, fails, {})
    assert (status().status, status().message) == ("failed", "the reason in two lines")
    record = run(store, works, {})
    assert (status().status, status().version, status().prefix) == ("succeeded", record.version, record.prefix)
    run(store, works, {})
    assert status().status == "cached"


def test_a_run_that_nobody_recorded_is_recorded_by_its_first_stage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if what a schedule starts at KFP, night after night, were in no list and in nobody's hours."""
    monkeypatch.setenv("ORRERY_PIPELINE", "p")
    monkeypatch.setenv("ORRERY_RUN", "r1")
    monkeypatch.setenv(RUN_OF, '{"config":{"cluster":{"team":"lab"}},"policy":"arm","recipe":"tiny"}')
    monkeypatch.setenv(BUDGET, '{"seconds":{"t.s":60}}')

    def record() -> RunRecord:
        return RunRecord.model_validate_json(store.read(run_key("p", "r1")))

    StatusWriter(store, "t.s").write("running")
    first = record()
    assert (first.run, first.pipeline, first.recipe, first.policy, first.status) == (
        "r1",
        "p",
        "tiny",
        "arm",
        "running",
    )
    assert first.config == {"cluster": {"team": "lab"}, "estimates": {"t.s": 60}}
    StatusWriter(store, "t.later").write("cached")
    assert record() == first, "or whoever submitted it would have written in vain"
    conclude(store, "p", "r1", "t.later: no")
    assert (record().status, record().message) == ("failed", "t.later: no")
    conclude(store, "p", "r1", "")
    assert (record().status, record().message) == ("succeeded", "")


def test_reference_is_bound_to_the_bytes(store: Store, toy_module: ModuleType) -> None:
    """A record that was changed behind a reference must not be used."""
    record = toy_module.toy(store, toy_module.ToyConfig(), 0)
    ref = reference(store, record)
    assert load_record(store, ref.prefix, ref.sha256) == record
    forged = json.loads(store.read(record_key(record.prefix)))
    forged["seed"] = 99
    store.overwrite(record_key(record.prefix), json.dumps(forged).encode())
    with pytest.raises(IntegrityError):
        load_record(store, ref.prefix, ref.sha256)
    store.overwrite(record_key(record.prefix), b"{}")
    with pytest.raises(IntegrityError, match="not a stage record"):
        load_record(store, record.prefix)
    with pytest.raises(NotFound, match="run the stage"):
        load_record(store, "models/toy/0000000000000000")
