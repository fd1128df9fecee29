"""The kustomizations, each rendered once by the real kustomize."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.manifests import Document, pod_templates, render


@pytest.fixture(scope="session", params=["base", "overlays/local", "overlays/production"])
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(request.param)


@pytest.fixture(scope="session")
def pods(documents: list[Document]) -> dict[str, Document]:
    """The pod templates, by the name of the object that makes pods of them."""
    return {d["metadata"]["name"]: template for d in documents for template in pod_templates(d)}


@pytest.fixture(scope="session")
def containers(pods: dict[str, Document]) -> dict[str, Document]:
    """Every container of every pod, by `object/container`."""
    return {f"{name}/{c['name']}": c for name, pod in pods.items() for c in _containers(pod["spec"])}


@pytest.fixture(scope="session")
def policies(documents: list[Document]) -> dict[str, Document]:
    """The specs of the network policies, by name."""
    return {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "NetworkPolicy"}


def _containers(spec: Document) -> Iterator[Document]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind, ())
