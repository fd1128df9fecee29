"""The `data` image built by a container engine, and a pipeline's steps run in it as a cluster would run them.

If these fail, a step dies on a cluster: its image lacks a library that is here, asks for root, or writes where it may
not.
Where no container engine answers, or no base image can be had, they are left out, and say so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from components.images import image
from components.store.open import open_store
from components.store.records import read_reference
from data_contracts.base import canonical_json
from pipelines.catalog import find
from pipelines.compiler import compile_to
from pipelines.placement import USER
from pipelines.recipes import recipe

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "localhost/orrery-test"  # nobody's own images are replaced
DOCKERFILE = (ROOT / "images/data/Dockerfile").read_text()
BASE = os.environ.get("ORRERY_BASE_IMAGE") or re.findall(r"^ARG BASE=(\S+)", DOCKERFILE, re.MULTILINE)[0]
SETTINGS = ("record.episodes=1", "intake.strips=1", "intake.shard=1")
BUILD_SECONDS = 3000

INSIDE = """
import importlib.metadata, json, os, pathlib, shutil
def writable(path):
    try:
        open(path + "/x", "w").close()
    except OSError as error:
        return error.strerror
    return "written"
bom = json.loads(pathlib.Path("/opt/orrery/sbom.venv.cdx.json").read_text())
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "writes": {path: writable(path) for path in ("/", "/opt/venv", "/opt/orrery", "/tmp")},
    "programs": [p for p in "gcc cc g++ c++ clang ld as make git curl wget ssh uv".split() if shutil.which(p)],
    "installed": {d.name.lower().replace("_", "-"): d.version for d in importlib.metadata.distributions()},
    "bom": {c["name"]: c["version"] for c in bom["components"]},
    "unhashed": [c["name"] for c in bom["components"] if not any(r.get("hashes") for r in c["externalReferences"])],
}))
"""


@dataclass(frozen=True)
class Image:
    engine: str
    reference: str

    def run(self, *command: str, folder: Path | None = None, env: dict[str, str] | None = None) -> str:
        """What `command` prints in a container as Pod Security `restricted` has it: no rights, no network, and a root
        file system that nobody may write to. `folder` is there as /mnt/run."""
        done = subprocess.run(
            [
                self.engine, "run", "--rm", "--read-only", "--network", "none", "--cap-drop", "ALL",
                "--security-opt", "no-new-privileges", "--tmpfs", "/tmp:rw,mode=1777,size=1g", "--shm-size", "256m",
                *(word for name, value in (env or {}).items() for word in ("--env", f"{name}={value}")),
                *(("--volume", f"{folder}:/mnt/run") if folder else ()), self.reference, *command,
            ],
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout


@pytest.fixture(scope="module")
def data() -> Image:
    """The image, built from its Dockerfile by the project's own script."""
    engine = next((name for name in ("docker", "podman") if shutil.which(name) and _says(name, "info")), None)
    if engine is None:
        left_out("no container engine answers here (docker info, podman info)")
    if not _says(engine, "image", "inspect", BASE) and not _says(engine, "pull", "--quiet", BASE):
        left_out(
            f"the base image {BASE} can't be pulled; name another in ORRERY_BASE_IMAGE, or make one: images/base.sh"
        )
    environment = {**os.environ, "ORRERY_IMAGE_PREFIX": PREFIX, "ORRERY_BASE_IMAGE": BASE}
    command = ["bash", str(ROOT / "images/build.sh"), "data", "--", "--network", "host"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORRERY_IMAGE_PREFIX", PREFIX)
        return Image(engine, image("data").partition("@")[0])


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS + 300)
def test_it_holds_its_lock_and_no_tool_to_make_more(data: Image, locked: Callable[[str], dict[str, str]]) -> None:
    """Breaks if the image runs as root, can be written to, can compile, or if its bill of materials lies."""
    found = json.loads(data.run("python", "-c", INSIDE))
    assert found["user"] == [USER, USER]
    refused = "Read-only file system"
    assert found["writes"] == {"/": refused, "/opt/venv": refused, "/opt/orrery": refused, "/tmp": "written"}
    assert not found["programs"]
    wanted = _normal(locked("data"))
    assert _normal(found["installed"]) == wanted
    assert _normal(found["bom"]) == wanted
    assert not found["unhashed"]
    assert "Usage: orrery" in data.run("orrery", "--help")


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS + 300)
def test_its_labels_and_its_environment_name_the_commit(data: Image) -> None:
    """Breaks if nobody could say which code an image is, or on which base it stands."""
    shown = subprocess.run(
        [data.engine, "image", "inspect", data.reference], capture_output=True, text=True, timeout=60, check=True
    )
    config = json.loads(shown.stdout)[0]["Config"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert (labels["title"], labels["base.name"]) == ("orrery data", BASE)
    assert f"ORRERY_REVISION={labels['revision']}" in config["Env"]
    assert config["User"] == f"{USER}:{USER}"


@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS + 300)
def test_compiled_steps_record_and_take_in_an_episode(data: Image, tmp_path: Path) -> None:
    """Simulation, rendering, encoding, checks and publishing, by what `orrery compile` wrote and KFP would start, and
    the check that image and pipeline are of the same code."""
    plan = recipe("robots", "tiny", SETTINGS)
    pipeline, _ = compile_to(find("episode_intake"), plan, tmp_path)
    executors = next(yaml.safe_load_all(pipeline.read_text()))["deploymentSpec"]["executors"]
    work = tmp_path / "work"
    work.mkdir()
    work.chmod(0o777)  # the container's user is nobody here

    def step(name: str, **parameters: Any) -> str:
        container = executors[f"exec-{name}"]["container"]
        given = json.dumps({
            "inputs": {"parameterValues": {"store": "/mnt/run/store", "seed": 1, **parameters}},
            "outputs": {
                "parameters": {"Output": {"outputFile": "/mnt/run/output"}}, "outputFile": f"/mnt/run/{name}.json",
            },
        })  # fmt: skip
        command = [word.replace("{{$}}", given) for word in (*container["command"], *container["args"])]
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert {"ORRERY_CODE", "ORRERY_IMAGE"} <= environment.keys()
        data.run(*command, folder=work, env=environment)
        return str(json.loads((work / f"{name}.json").read_text())["parameterValues"]["Output"])

    configs = plan.stages()
    raw = step("robots-record", config=canonical_json(configs["record"]))
    dataset = step("agibot-intake", config=canonical_json(configs["intake"]), raw=raw)
    store = open_store(str(work / "store"))
    record = read_reference(store, dataset)
    assert (record.stage, record.metrics["episodes"], record.image) == ("agibot.intake", 1, image("data"))
    video = next(o for o in record.objects if o.path.endswith(".mp4"))
    assert store.fetch(record.key_of(video), video.sha256).stat().st_size == video.size


def _normal(versions: dict[str, str]) -> dict[str, str]:
    """By the names as PyPI compares them."""
    return {name.lower().replace("_", "-").replace(".", "-"): version for name, version in versions.items()}


def left_out(why: str) -> NoReturn:
    """A warning, which stands at the end of every test run; a skipped test alone is a letter among a thousand."""
    warnings.warn(f"NOT RUN: the data image is not built and no component runs in it: {why}", stacklevel=2)
    pytest.skip(why)


def _says(*command: str) -> bool:
    """Whether an engine's command succeeds within a minute."""
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
