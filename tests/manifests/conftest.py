"""The kustomizations, each rendered once by the real kustomize."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines.go_tool import KUSTOMIZE, go_tool

ROOT = Path(__file__).resolve().parents[2]

Document = dict[str, Any]
"""One Kubernetes object."""


@pytest.fixture(scope="session", params=["base", "overlays/local", "overlays/production"])
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """Every object that `kubectl apply -k manifests/<kustomization>` would send."""
    command = [str(go_tool(KUSTOMIZE)), "build", str(ROOT / "manifests" / request.param)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="session")
def pods(documents: list[Document]) -> dict[str, Document]:
    """The pod templates, by the name of the object that makes pods of them."""
    return {d["metadata"]["name"]: template for d in documents for template in _templates(d)}


@pytest.fixture(scope="session")
def containers(pods: dict[str, Document]) -> dict[str, Document]:
    """Every container of every pod, by `object/container`."""
    return {f"{name}/{c['name']}": c for name, pod in pods.items() for c in _containers(pod["spec"])}


@pytest.fixture(scope="session")
def policies(documents: list[Document]) -> dict[str, Document]:
    """The specs of the network policies, by name."""
    return {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "NetworkPolicy"}


def _templates(document: Document) -> Iterator[Document]:
    """A workload has one; a training runtime holds a JobSet, whose jobs have one each."""
    if document["kind"] == "ClusterTrainingRuntime":
        for job in document["spec"]["template"]["spec"]["replicatedJobs"]:
            yield job["template"]["spec"]["template"]
    elif "template" in document.get("spec", {}):
        yield document["spec"]["template"]


def _containers(spec: Document) -> Iterator[Document]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind, ())
