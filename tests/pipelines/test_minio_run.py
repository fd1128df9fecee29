"""Runs against a real MinIO server: the same pipeline, and what a user is told when the server says no."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.store.open import open_store
from pipelines import runs

HERE = Path(__file__).parent
Run = Callable[..., subprocess.CompletedProcess[str]]


def toy(place: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "toy_run.py"), url, "{}", "{}"]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)


def test_a_run_works_on_minio_as_on_a_folder(place: Path, minio_environment: Any, orrery: Run) -> None:
    """Credentials reach the stages by the environment, never by the pipeline's parameters."""
    url = f"s3://orrery/{uuid.uuid4().hex}"
    done = toy(place, url)
    assert done.returncode == 0, done.stderr
    run = runs.find(open_store(url))
    assert [s.status for _, s in run.stages] == ["succeeded", "succeeded"]
    shown = orrery("runs", "show", "last", "--json", "--store", url)
    assert json.loads(shown.stdout)["run"] == run.run
    secret = minio_environment.environment["AWS_SECRET_ACCESS_KEY"]
    assert secret not in done.stderr + (place / "home" / "reports" / f"{run.run}.html").read_text()


@pytest.mark.parametrize("verb", [["runs", "list"], ["demo"]])
def test_a_missing_bucket_is_named(place: Path, minio_environment: Any, orrery: Run, verb: list[str]) -> None:
    done = orrery(*verb, "--store", "s3://nobodys-bucket/x")
    assert done.returncode == 3, done.stderr
    assert "nobodys-bucket" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_said_without_showing_them(
    place: Path, minio_environment: Any, orrery: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "quite-the-wrong-one")
    done = orrery("demo", "--store", "s3://orrery/x")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "quite-the-wrong-one" not in done.stderr or name == "AWS_ACCESS_KEY_ID"
