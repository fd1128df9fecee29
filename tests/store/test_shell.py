"""The component shell: strings in, a reference out, one line and the right exit code when a user must act."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import ModuleType

import pytest

from components.store.api import Store
from components.store.errors import StoreError
from components.store.records import read_reference
from components.store.shell import call


def test_stages_chain_through_references(store: Store, toy_module: ModuleType) -> None:
    first = call(toy_module.toy, store=store.url, config='{"size": 2}', seed=0, source="")
    second = call(toy_module.toy, store=store.url, config="{}", seed=0, source=first)
    assert read_reference(store, second).inputs["source"].prefix == read_reference(store, first).prefix
    assert call(toy_module.toy, store=store.url, config="{}", seed=0, source=first) == second


@pytest.mark.parametrize(
    ("config", "source", "says", "exit_code"),
    [
        ('{"sise": 2}', "", "sise: Extra inputs are not permitted", 2),
        ('{"size": "many"}', "", "size: ", 2),
        ("not json", "", "Invalid JSON", 2),
        ("{}", "not a reference", "no reference to a version", 2),
        ("{}", '{"prefix": "models/toy/0123456789abcdef", "sha256": "%s"}' % ("0" * 64), "holds no version", 3),
        ("{}", '{"prefix": "../../etc", "sha256": "%s"}' % ("0" * 64), "is not an object key", 2),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    folder_store: Store,
    toy_module: ModuleType,
    capsys: pytest.CaptureFixture[str],
    config: str,
    source: str,
    says: str,
    exit_code: int,
) -> None:
    with pytest.raises(SystemExit) as caught:
        call(toy_module.toy, store=folder_store.url, config=config, seed=0, source=source)
    assert caught.value.code == exit_code
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert list(folder_store.list("")) == []


def test_error_of_the_stage_itself_keeps_its_code(
    folder_store: Store, toy_module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def stage(store: Store, config: toy_module.ToyConfig, seed: int) -> None:  # type: ignore[name-defined]
        raise StoreError("a long\nstory")

    stage.__annotations__["config"] = toy_module.ToyConfig
    with pytest.raises(SystemExit) as caught:
        call(stage, store=folder_store.url, config="{}", seed=0)  # type: ignore[arg-type]
    assert caught.value.code == 3
    assert capsys.readouterr().err == "error: a long story\n"


def test_killed_runner_leaves_no_component_behind(start_python: Callable[..., subprocess.Popen[str]]) -> None:
    """The runner is killed with -9; the component that it started must die with it."""
    child = "import os, time; from components.store.shell import die_with_parent; die_with_parent();"
    child += "os.fork(); os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)"
    runner = start_python("-c", f"import subprocess, sys; subprocess.run([{sys.executable!r}, '-c', {child!r}])")
    assert runner.stdout is not None
    pids = [int(runner.stdout.readline()), int(runner.stdout.readline())]  # the component and its forked worker
    assert len(set(pids)) == 2
    runner.send_signal(signal.SIGKILL)
    runner.wait(10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(map(_alive, pids)):
        time.sleep(0.02)
    assert not any(map(_alive, pids))


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_cached_stage_is_fast_and_imports_nothing_heavy(
    store: Store, start_python: Callable[..., subprocess.Popen[str]], toy_module: ModuleType
) -> None:
    """A second demo must take under a minute: a stage that is there already may not import torch."""
    toy_module.toy(store, toy_module.ToyConfig(), 0)
    text = (
        "import sys, time, importlib.util as u\n"
        "s = u.spec_from_file_location('orrery_test_toy', sys.argv[2]); m = u.module_from_spec(s)\n"
        "sys.modules[s.name] = m; s.loader.exec_module(m)\n"
        "from components.store.shell import call\n"
        "began = time.monotonic()\n"
        "call(m.toy, store=sys.argv[1], config='{}', seed=0)\n"
        "print(time.monotonic() - began)\n"
        "print([n for n in ('torch', 'numpy', 'minio', 'kfp', 'pandas') if n in sys.modules])\n"
    )
    out, err = start_python("-c", text, store.url, os.fspath(toy_module.__file__)).communicate(timeout=60)
    assert out, err
    seconds, heavy = out.splitlines()
    assert heavy == "[]"
    assert float(seconds) < 1.0
