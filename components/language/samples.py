"""How completions are asked for, what they are, and the file that keeps them over kills and restarts."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from components.store.errors import ConfigurationError, IntegrityError, NotFound, StoreError
from components.store.files import explain_os_error, sync_folder
from components.store.records import first_problem
from data_contracts.base import Contract, canonical_json

_SYNC_SECONDS = 5.0


class SamplingConfig(Contract):
    """How completions are drawn, and how many of each prompt."""

    n: int = Field(default=1, ge=1, le=1024, description="completions of each prompt")
    temperature: float = Field(default=1.0, ge=0, le=100, description="0: the most probable token, always")
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, description="0: every token")
    max_tokens: int = Field(default=512, ge=1)
    seed: int = Field(default=0, ge=0)
    stop: tuple[str, ...] = Field(default=(), description="texts that end a completion; they are cut off")
    logprobs: bool = Field(default=False, description="of the completion's tokens")
    prompt_logprobs: bool = Field(default=False, description="of the prompt's tokens, from the second on")

    @model_validator(mode="after")
    def _makes_sense(self) -> SamplingConfig:
        if self.temperature == 0 and self.n > 1:
            raise ValueError(f"temperature 0 gives {self.n} equal completions; set n=1, or a temperature above 0")
        if not all(self.stop):
            raise ValueError("stop holds an empty text, which would end every completion at once; remove it")
        return self


class Completion(Contract):
    """What the model wrote, without special tokens. A model's text is anybody's text: trust nothing in it."""

    text: str
    token_ids: tuple[int, ...]
    """As sampled, the end token included."""
    finish: Literal["stop", "length"]
    """`length`: it was cut at `max_tokens`."""
    logprobs: tuple[float, ...] = ()
    """Natural logarithms of the model's own probabilities: before temperature, top_p and top_k."""


class Sampled(Contract):
    """The completions of one prompt."""

    index: int
    """Of the prompt."""
    completions: tuple[Completion, ...]
    prompt_logprobs: tuple[float, ...] = ()


def read_samples(path: Path) -> Iterator[Sampled]:
    """What a SampleFile holds, in the order of the prompts. Raises NotFound, IntegrityError."""
    with SampleFile(path) as file:
        for index in sorted(file.places):
            yield file.read(index)


class SampleFile:
    """JSON lines: the fingerprint of what was asked, then one Sampled a line, in any order. One writer at a time.

    A line is handed to the kernel when it is appended, so a killed process loses none, and every few seconds to the
    disk. An unfinished last line is cut off by the next writer.
    """

    def __init__(self, path: Path, asked: str = "") -> None:
        """`asked` is the fingerprint of what to begin, or to go on with; '' only reads."""
        self.path, self._asked = path, asked
        self.places: dict[int, int] = {}
        """Where the line of each prompt begins, in bytes."""
        self._synced = time.monotonic()

    def __enter__(self) -> SampleFile:
        try:
            self._file = self.path.open("a+b" if self._asked else "rb")
        except FileNotFoundError as error:
            raise NotFound(f"{self.path} does not exist; sample first") from error
        try:
            if self._asked:
                self._begin()
            else:
                self._load()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._asked:
            self._sync()
        self._file.close()

    def append(self, sampled: Sampled) -> None:
        """Keep it. Raises StoreError when the disk is full."""
        self.places[sampled.index] = self._file.seek(0, os.SEEK_END)
        self._write(sampled.model_dump_json(exclude_defaults=True))
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            self._sync()

    def read(self, index: int) -> Sampled:
        """What was kept for prompt `index`."""
        self._file.seek(self.places[index])
        return Sampled.model_validate_json(self._file.readline())

    def _begin(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"another process writes {self.path}; end it, or wait for it") from error
        end = self._load()
        self._file.truncate(end)
        if not end:
            self._write(canonical_json({"asked": self._asked}))
            sync_folder(self.path.parent)

    def _load(self) -> int:
        """Find the lines; where the last whole one ends."""
        end = self._file.seek(0)
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):
                break
            if number == 0:
                self._check(line)
            else:
                self.places[self._index(line, number + 1)] = end
            end += len(line)
        return end

    def _check(self, header: bytes) -> None:
        if self._asked and header.rstrip() != canonical_json({"asked": self._asked}).encode():
            raise ConfigurationError(
                f"{self.path} was begun with other prompts or settings; remove it, or name another file"
            )

    def _index(self, line: bytes, number: int) -> int:
        try:
            index = Sampled.model_validate_json(line).index
        except ValidationError as error:
            raise IntegrityError(
                f"{self.path}, line {number}, is no sample ({first_problem(error)}); remove the file and sample again"
            ) from error
        if index in self.places:
            raise IntegrityError(f"{self.path}, line {number}, samples prompt {index} again; remove the file")
        return index

    def _write(self, text: str) -> None:
        try:
            self._file.write(text.encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise explain_os_error(error, "samples can't be kept", str(self.path)) from error

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()
