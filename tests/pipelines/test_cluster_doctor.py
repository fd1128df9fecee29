"""What `orrery doctor --cluster` concludes of versions that a test's own cluster does not have.

The API server is a stand-in; tests/cluster asks a real one. If these fail, a person installs what does not fit, or
mends what is not broken.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiException

from pipelines.cluster_doctor import PARTS, examine
from pipelines.findings import Finding

ROOT = Path(__file__).resolve().parents[2]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"


class Api:
    """A cluster with all parts in these versions; `trainer_fields` are those of a TrainJob."""

    def __init__(self, versions: dict[str, str], trainer_fields: tuple[str, ...] = ("runtimePatches",)) -> None:
        self._documents: dict[str, Any] = {
            "/version": {"gitVersion": "v1.34.1"},
            "/apis/apps/v1/deployments": {"items": [_deployment(*item) for item in versions.items()]},
            **{f"{CRDS}{part.crd}": _crd(part.serves, trainer_fields) for part in PARTS.values()},
        }

    def call_api(self, path: str, method: str, **_: Any) -> list[Any]:
        if method == "POST":
            return [SimpleNamespace(data=json.dumps({"status": {"allowed": False}}))]
        if path not in self._documents:
            raise ApiException(status=404)
        return [SimpleNamespace(data=json.dumps(self._documents[path]))]


def _deployment(name: str, version: str) -> dict[str, Any]:
    image = f"registry:5000/kubeflow/{name}:{version}@sha256:0123"
    pod = {"spec": {"containers": [{"image": image}]}}
    return {"metadata": {"name": name}, "spec": {"template": pod}}


def _crd(version: str, fields: tuple[str, ...]) -> dict[str, Any]:
    spec = {"properties": {name: {} for name in fields}}
    schema = {"openAPIV3Schema": {"properties": {"spec": spec}}}
    return {"spec": {"versions": [{"name": version, "served": True, "schema": schema}]}}


def found(**told: Any) -> dict[str, Finding]:
    names = {part.deployment: "v9.0.0" for part in PARTS.values() if part.deployment}
    versions = names | told.pop("versions", {})
    return {finding.name: finding for finding in examine(Api(versions, **told))}


@pytest.mark.parametrize(
    ("kueue", "fields", "state"),
    [
        ("v0.19.0", ("podTemplateOverrides",), "missing"),
        ("v0.19.0", ("runtimePatches",), "ok"),
        ("v0.16.4", ("podTemplateOverrides",), "ok"),
    ],
)
def test_a_kueue_that_does_not_fit_the_trainer_is_named(kueue: str, fields: tuple[str, ...], state: str) -> None:
    """A queued TrainJob would wait for ever, and nothing would say why."""
    seen = found(versions={"kueue-controller-manager": kueue}, trainer_fields=fields)["kueue-and-trainer"]
    assert (seen.state, bool(seen.mend)) == (state, state != "ok"), seen


def test_it_asks_for_the_versions_that_the_manifests_speak() -> None:
    """Breaks if a cluster were called fit, and then refused the manifests."""
    served = {part.crd.partition(".")[2]: part.serves for part in PARTS.values()}
    used = set()
    for file in (ROOT / "manifests").rglob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text()):
            group, _, version = (document.get("apiVersion", "") if isinstance(document, dict) else "").rpartition("/")
            if group in served:
                used.add(group)
                assert version == served[group], file
    assert used == {"trainer.kubeflow.org", "kueue.x-k8s.io"}


def test_what_is_too_old_is_missing_if_every_recipe_needs_it() -> None:
    """And else only worth a warning, as one that is not there at all."""
    old = {"ml-pipeline": "2.13.0", "kserve-controller-manager": "v0.14.1", "kubeflow-trainer-controller-manager": "x"}
    seen = found(versions=old)
    assert (seen["pipelines"].state, seen["pipelines"].what) == ("missing", "2.13.0 is too old")
    assert (seen["kserve"].state, seen["kserve"].what) == ("warn", "v0.14.1 is too old")
    assert seen["trainer"].state == "ok", "a tag that is no version says nothing"
    assert seen["kueue"] == Finding("kueue", "ok", "v9.0.0, v1beta2")
    assert "install" in seen["pipelines"].mend
