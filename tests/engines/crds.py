"""The schemas of other projects' Kubernetes objects, out of the Go modules that release them.

A module is taken by its version and by the hash that stands here; Go keeps it, so only the first run on a machine asks
the module proxy. CEL rules (`x-kubernetes-validations`) are not evaluated: an API server does that.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.engines.go_tool import go_program

Document = dict[str, Any]
"""A Kubernetes object, or a schema."""

DOWNLOAD_SECONDS = 300.0


@dataclass(frozen=True)
class Release:
    """The CRDs in `folder` of a Go module. `sum` is Go's own hash of the module (h1, SHA-256)."""

    module: str
    version: str
    sum: str
    folder: str


def _trainer(version: str, digest: str) -> Release:
    return Release("github.com/kubeflow/trainer/v2", version, digest, "manifests/base/crds")


TRAINER = (
    _trainer("v2.0.0", "h1:mnQSR9iPKItxyUR8mq66XsmxqKNVHwr9YYOB7BTU9dU="),
    _trainer("v2.1.0", "h1:jRABD9ZYToamNH2atHze3L/VC/v6KCAqUEqsOQOjVTg="),
    _trainer("v2.2.0", "h1:whChZckEtycLo1UKH/M0hiNaCUozbLvf9JrgmMv+TAg="),
    _trainer("v2.3.0", "h1:Je+e7zvTLzB4qW09J1fB7pZrqvPtWuGng2NqdN5p5QU="),
)
"""What this project asks of a TrainJob and its runtimes must fit every one of them."""

KUEUE = Release(
    "sigs.k8s.io/kueue", "v0.19.2", "h1:mPNzr37u0nwI7ikST5QQl5gg6EgtYOAvC9ZbTgywdN8=", "config/components/crd/bases"
)
PROMETHEUS = Release(
    "github.com/prometheus-operator/prometheus-operator", "v0.93.0",
    "h1:AohlYJT+En8TmNpAcEUJ3GsaJTAqfEBwHmGTVpRm/Io=", "example/prometheus-operator-crd",
)  # fmt: skip


def releases(document: Document) -> tuple[Release, ...]:
    """Where the schemas of a custom object are found; empty for Kubernetes' own kinds. Raises KeyError."""
    group, separator, _ = document["apiVersion"].partition("/")
    if not separator or "." not in group or (group.endswith(".k8s.io") and not group.startswith("kueue.")):
        return ()
    return {"trainer.kubeflow.org": TRAINER, "kueue.x-k8s.io": (KUEUE,), "monitoring.coreos.com": (PROMETHEUS,)}[group]


def validate(document: Document, release: Release) -> None:
    """Raises jsonschema.ValidationError if a cluster with this release would refuse the object, or drop a field."""
    group, _, version = document["apiVersion"].partition("/")
    jsonschema.Draft202012Validator(_schema(release, group, version, document["kind"])).validate(document)


@functools.cache
def _schema(release: Release, group: str, version: str, kind: str) -> Document:
    """The strict schema of a kind that the release serves. Raises LookupError."""
    for file in sorted((folder(release) / release.folder).glob(f"{group}_*.yaml")):
        text = file.read_text()
        if f"    kind: {kind}\n" in text:  # the others are long to read
            [crd] = yaml.load_all(text, yaml.CSafeLoader)
            for served in (v for v in crd["spec"]["versions"] if v["served"] and v["name"] == version):
                return _strict(served["schema"]["openAPIV3Schema"])
    raise LookupError(f"{release.module} {release.version} serves no {kind} in {group}/{version}")


def _strict(schema: Document) -> Document:
    """A structural schema as JSON schema: what an API server would prune is an error, an int-or-string is either."""
    strict = {k: v for k, v in schema.items() if k not in ("properties", "items", "additionalProperties", "default")}
    if strict.pop("nullable", False):
        strict["type"] = [strict["type"], "null"]
    if strict.get("x-kubernetes-int-or-string"):
        strict.pop("type", None)
        strict["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "items" in schema:
        strict["items"] = _strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        strict["additionalProperties"] = _strict(schema["additionalProperties"])
    elif "properties" in schema:
        strict["properties"] = {name: _strict(part) for name, part in schema["properties"].items()}
        if "metadata" in strict["properties"] and strict["properties"]["metadata"].keys() <= {"type", "description"}:
            strict["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own, not in the CRD
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            strict["additionalProperties"] = False
    return strict


@functools.cache
def folder(release: Release) -> Path:
    """The module's files in Go's cache. Raises RuntimeError if they can't be had, or are not the ones meant."""
    command = [str(go_program()), "mod", "download", "-json", f"{release.module}@{release.version}"]
    environment = {**os.environ, "GOWORK": "off", "GOFLAGS": "-mod=mod"}
    with tempfile.TemporaryDirectory() as nowhere:
        done = subprocess.run(
            command, cwd=nowhere, env=environment, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
        )
    answer = json.loads(done.stdout) if done.stdout.strip() else {"Error": done.stderr[-500:]}
    if "Error" in answer:
        raise RuntimeError(f"the schemas of {release.module} {release.version} can't be had: {answer['Error']}")
    if answer["Sum"] != release.sum:
        raise RuntimeError(f"{release.module} {release.version} has the hash {answer['Sum']}, not {release.sum}")
    return Path(answer["Dir"])
