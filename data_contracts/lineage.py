"""What a stage hands on: a small record that names immutable objects, and says what they were made from."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from data_contracts.base import Contract, fingerprint

Kind = Literal["raw", "datasets", "models", "evaluations"]
"""The top folder of the store under which a stage's output lies (design: "Artifacts")."""

Metric = float | int | str | bool | None


class ObjectRef(Contract):
    """One immutable object. `path` is relative to the version's prefix, with forward slashes."""

    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    key: str = Field(default="", description="where it lies if not below the version: another's object, not copied")


class InputRef(Contract):
    """An input version as lineage keeps it: enough to find it and to prove that it is the same one."""

    stage: str
    prefix: str
    version: str
    fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$", description="hash over all of the version's object hashes")


class StageRecord(Contract):
    """One published version: `<kind>/<name>/<version>/record.json`, written last and never changed.

    `version` is the hash of what went *in* (inputs, configuration, seed, code), so it is known before the work starts;
    `fingerprint` is the hash of what came *out*.
    """

    stage: str = Field(description="the stage that made it, e.g. 'ge_base.stage1'")
    kind: Kind
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9a-f]{16}$")
    inputs: dict[str, InputRef] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict, description="the effective configuration")
    seed: int = 0
    code: str = Field(description="fingerprint of the stage's source files")
    image: str = ""
    objects: tuple[ObjectRef, ...] = ()
    metrics: dict[str, Metric] = Field(default_factory=dict)
    started_at: str = Field(description="UTC, ISO 8601")
    seconds: float = Field(ge=0)
    peak_memory_bytes: int = 0

    @property
    def prefix(self) -> str:
        return f"{self.kind}/{self.name}/{self.version}"

    @property
    def fingerprint(self) -> str:
        return fingerprint([[o.path, o.size, o.sha256] for o in self.objects])

    def as_input(self) -> InputRef:
        return InputRef(stage=self.stage, prefix=self.prefix, version=self.version, fingerprint=self.fingerprint)

    def key_of(self, ref: ObjectRef) -> str:
        """Where the bytes of one of its objects lie in the store."""
        return ref.key or f"{self.prefix}/{ref.path}"

    def object(self, path: str) -> ObjectRef:
        """The object at `path`. Raises KeyError that lists what is there."""
        for candidate in self.objects:
            if candidate.path == path:
                return candidate
        raise KeyError(f"{self.prefix} holds no {path!r}; it holds {[o.path for o in self.objects][:20]}")


class RecordRef(Contract):
    """What travels through KFP between stages: where a record lies, and the hash of its bytes."""

    prefix: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class StageStatus(Contract):
    """One line of `orrery runs show`: `runs/<pipeline>/<run>/stages/<stage>.json`."""

    name: str
    task: str = Field(default="", description="of the pipeline, as KFP names it; empty in records of older runs")
    status: Literal["succeeded", "cached", "failed", "running"]
    seconds: float = 0.0
    version: str = ""
    prefix: str = ""
    message: str = Field(default="", description="why it failed, in one sentence, with the mend")
    started_at: str = ""


class RunRecord(Contract):
    """`runs/<pipeline>/<run>/run.json`: what was asked for, and how it ended."""

    run: str
    pipeline: str
    recipe: str
    policy: str = Field(default="", description="what its gate judges, and its hours are counted for")
    config: dict[str, object] = Field(
        description="the recipe; of a run that KFP started by itself, its team and estimates"
    )
    status: Literal["running", "succeeded", "failed"]
    started_at: str
    seconds: float = 0.0
    stages: tuple[str, ...] = Field(default=(), description="stages in the order in which they ended")
    outputs: dict[str, RecordRef] = Field(default_factory=dict, description="what the pipeline handed on, by name")
    message: str = Field(default="", description="why it failed, in one sentence, with the mend")
