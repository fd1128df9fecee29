"""The kustomizations of `manifests/`, rendered by the real kustomize."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.engines.go_tool import KUSTOMIZE, go_tool

ROOT = Path(__file__).resolve().parents[2]

Document = dict[str, Any]
"""One Kubernetes object."""


def render(kustomization: str) -> list[Document]:
    """Every object that `kubectl apply -k manifests/<kustomization>` would send."""
    command = [str(go_tool(KUSTOMIZE)), "build", str(ROOT / "manifests" / kustomization)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return list(yaml.safe_load_all(done.stdout))


def pod_templates(document: Document) -> Iterator[Document]:
    """A workload has one; a training runtime holds a JobSet, whose jobs have one each."""
    if document["kind"] == "ClusterTrainingRuntime":
        for job in document["spec"]["template"]["spec"]["replicatedJobs"]:
            yield job["template"]["spec"]["template"]
    elif "template" in document.get("spec", {}):
        yield document["spec"]["template"]
