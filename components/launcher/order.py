"""What the pods of a training are told, and what they hand back: two small objects in the store that name all others.

A pod has none of a step's local files. So each is named by its hash: one that the store has already (an input's) is
named where it is, another is uploaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from components.store.api import Store
from components.store.errors import AlreadyExists, IntegrityError, NotFound
from components.store.files import hash_file
from components.store.stage import Workspace
from components.training.job import Job
from data_contracts.base import Contract, canonical_json
from data_contracts.lineage import Metric


class Piece(Contract):
    """A file: where it lies below its folder, and where in the store."""

    path: str
    key: str
    sha256: str


class Order(Contract):
    """A job without its places: its inputs that are files are `pieces`, `out` and `scratch` are the pod's own."""

    job: Job
    pieces: dict[str, tuple[Piece, ...]]
    """The files of an input, by the input's name; one with an empty path is the input itself."""
    checkpoints: str
    """Key prefix of the version's checkpoints."""

    @property
    def name(self) -> str:
        """Its content's hash, 16 hex digits: equal orders train the same."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        return f"{self.checkpoints}/order-{self.name}.json"

    @property
    def result_key(self) -> str:
        return f"{self.checkpoints}/result-{self.name}.json"

    @property
    def lease_key(self) -> str:
        return f"{self.checkpoints}/lease-{self.name}.txt"


class Result(Contract):
    """What rank 0 published, and its metrics. Written last: it is whole, or it is not there."""

    pieces: tuple[Piece, ...]
    metrics: dict[str, Metric]


def place_order(ws: Workspace, job: Job) -> Order:
    """Write the order for `job` into the store; the same again for the same job."""
    known = {o.sha256: f"{record.prefix}/{o.path}" for record in ws.inputs.values() for o in record.objects}
    words, pieces = dict(job.inputs), {}
    for name, value in job.inputs.items():
        path = Path(value)
        if path.is_absolute() and path.exists():
            words[name] = ""
            pieces[name] = tuple(upload(ws.store, ws.checkpoints, _files(path), known))
    bare = job.model_copy(update={"inputs": words, "out": "", "scratch": ""})
    order = Order(job=bare, pieces=pieces, checkpoints=ws.checkpoints)
    with suppress(AlreadyExists):
        ws.store.create(order.key, canonical_json(order).encode())
    return order


def take_order(store: Store, key: str, folder: Path) -> tuple[Order, Job]:
    """The order, and the job with its files below `folder`, `out` and `scratch` in there too."""
    order = Order.model_validate_json(store.read(key))
    inputs = dict(order.job.inputs)
    for name, pieces in order.pieces.items():
        inputs[name] = str(folder / "inputs" / name)
        download(store, pieces, folder / "inputs" / name)
    places = {"inputs": inputs, "out": str(folder / "out"), "scratch": str(folder / "scratch")}
    return order, order.job.model_copy(update=places)


def hand_back(store: Store, order: Order, out: Path, metrics: Mapping[str, Metric]) -> None:
    """Upload what a training made, and say so. Harmless if another attempt has done it."""
    pieces = tuple(upload(store, order.checkpoints, _files(out), {}))
    with suppress(AlreadyExists):
        store.create(order.result_key, canonical_json(Result(pieces=pieces, metrics=dict(metrics))).encode())


def find_result(store: Store, order: Order) -> Result | None:
    try:
        return Result.model_validate_json(store.read(order.result_key))
    except NotFound:
        return None


def upload(store: Store, prefix: str, files: Mapping[str, Path], known: Mapping[str, str]) -> Iterator[Piece]:
    """Each file (by its path below its folder) as an object that its hash names, unless it is `known` by its hash."""
    for path, file in files.items():
        digest = hash_file(file)
        key = known.get(digest)
        if key is None:
            key = f"{prefix}/objects/{digest}"
            with suppress(AlreadyExists):
                store.create_file(key, file, digest)
        yield Piece(path=path, key=key, sha256=digest)


def download(store: Store, pieces: tuple[Piece, ...], target: Path) -> None:
    """The files below `target` (or `target` itself, for the one piece without a path), verified."""
    for piece in pieces:
        local = target / piece.path if piece.path else target
        if not local.resolve().is_relative_to(target.resolve()):
            raise IntegrityError(f"{piece.key}: its path {piece.path!r} leads out of its folder")
        local.parent.mkdir(parents=True, exist_ok=True)
        part = local.with_name(f"{local.name}.part")
        with open(part, "wb") as file:
            for chunk in store.stream(piece.key):
                file.write(chunk)
        if hash_file(part) != piece.sha256:
            raise IntegrityError(f"{piece.key} is not what was named: it has another hash; it was changed from outside")
        part.replace(local)


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"": path}
    return {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
