"""Scratch folders. If these fail, killed runs fill the disk, or one run removes what another is using."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.store.files import scratch_folder

OWNER = """
import os, sys, time
from components.store.files import scratch_folder
with scratch_folder("test-") as folder:
    (folder / "data").write_text("much")
    if os.fork() == 0:  # a worker, which outlives its parent for a moment; it speaks once it has let go of the lock
        print(folder, flush=True)
        time.sleep(float(sys.argv[1]))
        os._exit(0)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def owner(temporary: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that holds a scratch folder, and that folder."""
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", OWNER, "5"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_a_folder_is_gone_after_its_block(temporary: Path) -> None:
    with scratch_folder("a-") as folder:
        assert folder.parent == temporary
        (folder / "deep").mkdir()
    assert list(temporary.iterdir()) == []


def test_the_next_start_removes_what_a_killed_one_left(owner: tuple[subprocess.Popen[str], Path]) -> None:
    """Also while a worker that was forked from it still lives."""
    process, left = owner
    assert (left / "data").is_file()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert left.is_dir()
    with scratch_folder():
        assert not left.exists()


def test_folders_of_living_owners_and_of_nobody_stay(
    owner: tuple[subprocess.Popen[str], Path], temporary: Path
) -> None:
    foreign = temporary / "orrery-notes"
    foreign.mkdir()
    (temporary / "orrery-link").symlink_to(foreign)
    with scratch_folder() as first, scratch_folder():
        assert first.is_dir()
        assert (owner[1] / "data").is_file()
        assert foreign.is_dir()
