"""How a stage runs: its output is named by the hash of what goes in, so it is made once and then found.

`run_stage` is the one door: it finds a published version, or builds it under a lock, uploads it and writes its record
last. A kill at any moment leaves nothing published, and the next start goes on: from the scratch folder while the stage
was building, from its finished outputs once it was done.
"""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field, ValidationError

from components.store.api import Store
from components.store.code import other_code, source_fingerprint
from components.store.cost import metered
from components.store.errors import ConfigurationError, OrreryError, StoreError
from components.store.files import cache_root, explain_os_error, hash_file, locked, write_atomic
from components.store.publish import UPLOADS, publish
from components.store.records import RECORD, find_record
from components.store.status import StatusWriter, utc_now
from data_contracts.base import Contract, canonical_json, fingerprint
from data_contracts.lineage import Kind, Metric, ObjectRef, StageRecord

_WAIT_FOR_BUILDER_SECONDS = 24 * 3600.0

Build = Callable[["Workspace"], Mapping[str, Metric]]


@dataclass(frozen=True)
class Workspace:
    """What a stage's `build` gets: where to write, where to keep what a restart needs, and its verified inputs."""

    store: Store
    stage: str
    version: str
    inputs: dict[str, StageRecord]
    out: Path
    """Empty at the start; every file below it becomes an object of the version."""
    scratch: Path
    """Kept over kills and restarts of the same version; removed when the version is published."""
    _views: Path = field(repr=False)
    _referred: dict[str, ObjectRef] = field(default_factory=dict, repr=False)

    @property
    def checkpoints(self) -> str:
        """Key prefix in the store for checkpoints of this version."""
        return f"checkpoints/{self.stage}/{self.version}"

    def fetch(self, input_name: str, path: str) -> Path:
        """A verified, read-only local file: the object `path` of an input. Its local name is not `path`'s."""
        record = self._input(input_name)
        found = record.object(path)
        return self.store.fetch(record.key_of(found), found.sha256)

    def refer(self, path: str, key: str, size: int, sha256: str) -> None:
        """Make an object that lies in the store already one of this version's, as `path`: nothing is copied."""
        self._referred[path] = ObjectRef(path=path, size=size, sha256=sha256, key=key)

    def fetch_tree(self, input_name: str, prefix: str = "") -> Path:
        """A local, read-only folder with the objects of an input below `prefix`, under their own names."""
        record = self._input(input_name)
        start = prefix.rstrip("/") + "/" if prefix else ""
        chosen = [o for o in record.objects if o.path.startswith(start)]
        if not chosen:
            raise StoreError(f"{record.prefix} holds nothing below {prefix!r}")
        root = self._views / record.version
        with ThreadPoolExecutor(UPLOADS) as pool:
            for ref, local in zip(chosen, pool.map(lambda o: self.fetch(input_name, o.path), chosen), strict=True):
                _link(root / ref.path, local)
        return root / start if start else root

    def _input(self, name: str) -> StageRecord:
        if name not in self.inputs:
            raise ConfigurationError(f"{self.stage} has no input {name!r}; it has {sorted(self.inputs)}")
        return self.inputs[name]


class _Built(Contract):
    """`built.json` in the scratch: the build is done, only the upload is left."""

    objects: tuple[ObjectRef, ...]
    metrics: dict[str, Metric] = Field(default_factory=dict)
    started_at: str
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class _Plan:
    """A stage and all that its version depends on."""

    store: Store
    stage: str
    kind: Kind
    name: str
    inputs: dict[str, StageRecord]
    config: Contract
    seed: int
    code: str
    version: str

    @property
    def prefix(self) -> str:
        return f"{self.kind}/{self.name}/{self.version}"

    @property
    def home(self) -> Path:
        """This version's folder on this machine."""
        place = hashlib.sha256(self.store.url.encode()).hexdigest()[:8]
        return cache_root() / "stages" / f"{self.stage}-{self.version}-{place}"

    @property
    def lock(self) -> Path:
        """Beside `home`, which goes when the version is published. (`with_suffix` would cut the name at its dot.)"""
        return self.home.with_name(f"{self.home.name}.lock")

    def record(self, built: _Built) -> StageRecord:
        return StageRecord(
            stage=self.stage,
            kind=self.kind,
            name=self.name,
            version=self.version,
            inputs={k: r.as_input() for k, r in self.inputs.items()},
            config=self.config.model_dump(mode="json"),
            seed=self.seed,
            code=self.code,
            image=os.environ.get("ORRERY_IMAGE", ""),
            **dict(built),
        )


def run_stage(
    *,
    store: Store,
    stage: str,
    kind: Kind,
    name: str,
    inputs: Mapping[str, StageRecord],
    config: Contract,
    seed: int,
    sources: Sequence[str],
    build: Build,
) -> StageRecord:
    """The record of this stage's output: found if it was ever published, else built, uploaded and published.

    `build` writes files below `Workspace.out` and returns metrics. Raises what `build` raises; OrreryError otherwise:
    ConfigurationError also in an image whose code is not what the pipeline was compiled from.
    """
    if differs := other_code(sources):
        raise ConfigurationError(f"{stage}: {differs}")
    plan = _plan(store, stage, kind, name, inputs, config, seed, sources)
    status = StatusWriter(store, stage, plan.version, plan.prefix)
    try:
        record = find_record(store, plan.prefix)
        if record is None:
            status.write("running")
            with metered(store, stage):
                record, cached = _build_once(plan, build)
        else:
            cached = True
    except BaseException as error:
        status.write("failed", message=_one_line(error))
        raise
    status.write("cached" if cached else "succeeded")
    return record


def _plan(
    store: Store,
    stage: str,
    kind: Kind,
    name: str,
    inputs: Mapping[str, StageRecord],
    config: Contract,
    seed: int,
    sources: Sequence[str],
) -> _Plan:
    code = source_fingerprint(tuple(sources))
    goes_in = {
        "stage": stage,
        "kind": kind,
        "name": name,
        "inputs": {k: [r.prefix, r.fingerprint] for k, r in inputs.items()},
        "config": config.model_dump(mode="json"),
        "seed": seed,
        "code": code,
    }
    try:
        version = fingerprint(goes_in)[:16]
    except ValueError as error:
        raise ConfigurationError(f"the configuration of {stage} holds a number that is not finite: {error}") from error
    return _Plan(store, stage, kind, name, dict(inputs), config, seed, code, version)


def _build_once(plan: _Plan, build: Build) -> tuple[StageRecord, bool]:
    """Build under this machine's lock for the version. True if another builder was first."""

    def waiting() -> None:
        print(f"{plan.stage}: another process builds {plan.version}; waiting for it", file=sys.stderr, flush=True)

    try:
        with locked(plan.lock, _WAIT_FOR_BUILDER_SECONDS, waiting):
            found = find_record(plan.store, plan.prefix)
            if found is not None:
                return found, True
            built = _finished(plan) or _build(plan, build)
            record = publish(plan.store, plan.record(built), plan.home / "out", _WAIT_FOR_BUILDER_SECONDS)
            shutil.rmtree(plan.home, ignore_errors=True)
            return record, False
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise explain_os_error(error, plan.stage, str(error.filename or plan.home)) from error


def _build(plan: _Plan, build: Build) -> _Built:
    out, scratch, views = (plan.home / part for part in ("out", "scratch", "views"))
    for folder in (out, views):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (out, scratch, views):
        folder.mkdir(parents=True, exist_ok=True)
    started_at, started = utc_now(), time.monotonic()
    workspace = Workspace(plan.store, plan.stage, plan.version, dict(plan.inputs), out, scratch, views)
    metrics = dict(build(workspace))
    objects = _objects(plan, out, workspace._referred)
    try:
        built = _Built(
            objects=objects,
            metrics=metrics,
            started_at=started_at,
            seconds=round(time.monotonic() - started, 3),
            peak_memory_bytes=_peak_memory(),
        )
        write_atomic(plan.home / "built.json", canonical_json(built).encode())
    except ValueError as error:
        raise ConfigurationError(f"{plan.stage} returned metrics that can't be recorded: {error}") from error
    return built


def _finished(plan: _Plan) -> _Built | None:
    """What a killed process had finished building, if all of it is still here unchanged."""
    try:
        built = _Built.model_validate_json((plan.home / "built.json").read_bytes())
        same = all(o.key or hash_file(plan.home / "out" / o.path) == o.sha256 for o in built.objects)
    except (FileNotFoundError, ValidationError):
        return None
    return built if same else None


def _objects(plan: _Plan, out: Path, referred: Mapping[str, ObjectRef]) -> tuple[ObjectRef, ...]:
    found = list(referred.values())
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_symlink() and not path.is_file():
            raise StoreError(f"{plan.stage} left a link {name} that leads to no file; it can't be published")
        if path.is_file():
            if name == RECORD:
                raise ConfigurationError(f"{plan.stage} wrote {RECORD} itself; that name is the record's")
            if name in referred:
                raise ConfigurationError(f"{plan.stage} wrote {name} and refers to {referred[name].key} by that name")
            found.append(ObjectRef(path=name, size=path.stat().st_size, sha256=hash_file(path)))
    if not found:
        raise StoreError(f"{plan.stage} finished without writing any file; nothing was published")
    return tuple(sorted(found, key=lambda o: o.path))


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(target, path)
    except FileExistsError:
        if os.readlink(path) != str(target):
            os.unlink(path)
            os.symlink(target, path)


def _peak_memory() -> int:
    """Largest resident size of this process or of any child so far, in bytes."""
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, OrreryError) else f"{type(error).__name__}: {text}"
