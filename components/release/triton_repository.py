"""The Triton model repository of a policy, and bringing a published one onto this machine.

Layout of a published version (`models/<policy>/<version>/`); Triton's `--model-repository` is its `triton` folder:

    bundle.json  model.safetensors  codec.safetensors  card.md
    triton/<policy>/config.pbtxt
    triton/<policy>/1/model.py
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from components.store.api import Store
from components.store.errors import IntegrityError, OrreryError
from components.store.files import explain_os_error
from data_contracts.bundle import PolicyBundle
from data_contracts.lineage import StageRecord

MODEL_VERSION = 1
"""Triton's number of the one version in a repository; Orrery's version travels as a parameter."""


def config_pbtxt(bundle: PolicyBundle, version: str) -> str:
    """Triton's model configuration. Shapes are fixed, so Triton itself refuses other ones before Python sees them.

    One instance: a session's memory lives in it. `KIND_CPU` only says that Triton assigns no GPU; the policy picks its
    own device. Versions are named, so an added folder never changes what is served. The output `version` is ASCII text
    as bytes, not a TYPE_STRING: one request over gRPC that asks to classify a string output ends Triton 2.51.
    """
    width = bundle.action.width
    inputs = [
        _tensor("images", "TYPE_UINT8", (len(bundle.cameras), bundle.image_height, bundle.image_width, 3)),
        _tensor("state", "TYPE_FP32", (width,)),
        _tensor("instruction", "TYPE_STRING", (1,)),
        _tensor("session", "TYPE_STRING", (1,)),
        _tensor("executed_steps", "TYPE_INT32", (1,), optional=True),
        _tensor("reset", "TYPE_BOOL", (1,), optional=True),
        _tensor("seed", "TYPE_INT64", (1,), optional=True),
    ]
    outputs = [
        _tensor("actions", "TYPE_FP32", (bundle.action.chunk, width)),
        _tensor("version", "TYPE_UINT8", (len(version),)),
    ]
    parameters = {"bundle": "../..", "version": version}
    return "\n".join(
        [
            f"name: {_quoted(bundle.policy)}",
            'backend: "python"',
            "max_batch_size: 0",
            f"input [\n{_joined(inputs)}\n]",
            f"output [\n{_joined(outputs)}\n]",
            f"version_policy {{ specific {{ versions: [ {MODEL_VERSION} ] }} }}",
            "instance_group [ { count: 1 kind: KIND_CPU } ]",
            *(
                f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
                for key, value in parameters.items()
            ),
            "",
        ]
    )


def write_repository(folder: Path, bundle: PolicyBundle, version: str) -> Path:
    """Write `triton/<policy>/…` under a version's folder; returns the `triton` folder."""
    root = folder / "triton"
    model = root / bundle.policy
    (model / str(MODEL_VERSION)).mkdir(parents=True)
    (model / "config.pbtxt").write_text(config_pbtxt(bundle, version))
    shutil.copyfile(Path(__file__).with_name("triton_model.py"), model / str(MODEL_VERSION) / "model.py")
    return root


def materialise(store: Store, record: StageRecord, folder: Path) -> Path:
    """Bring a published version into `folder`, every byte verified; returns its Triton repository.

    What lay in `folder` before is replaced: an interrupted download is never served.
    """
    if not any(ref.path.startswith("triton/") for ref in record.objects):
        raise OrreryError(
            f"{record.prefix} holds no Triton repository: it is no published policy (a language model is served by "
            "`vllm serve` from its folder)"
        )
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for ref in record.objects:
            _bring(store.fetch(f"{record.prefix}/{ref.path}", ref.sha256), _inside(folder, ref.path))
    except OSError as error:
        raise explain_os_error(error, record.prefix, str(folder)) from error
    return folder / "triton"


def _bring(source: Path, target: Path) -> None:
    """Link where the file systems allow it, else copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _inside(folder: Path, path: str) -> Path:
    if path.startswith("/") or ".." in path.split("/"):
        raise IntegrityError(f"object path {path!r} leaves its version's folder; the record is damaged or forged")
    return folder / path


def _tensor(name: str, kind: str, dims: Iterable[int], optional: bool = False) -> str:
    shape = ", ".join(str(d) for d in dims)
    return f"  {{ name: {_quoted(name)} data_type: {kind} dims: [ {shape} ]{' optional: true' if optional else ''} }}"


def _joined(tensors: list[str]) -> str:
    return ",\n".join(tensors)


def _quoted(text: str) -> str:
    return json.dumps(text)
