"""Reads chats from JSON lines, Parquet and Hugging Face's Arrow files: row by row, in bounded memory.

A row is in one of three forms. A field that is null counts as absent; fields that are not named here are ignored.

| fields | turns |
|---|---|
| `messages`: a list of {role, content} | as they are |
| `prompt`, and `completion` or `response`: texts or lists of messages | the user's, then the assistant's |
| `problem`, and `solution`: texts | the user's, then the assistant's |
| those of benchmarks: see `components/dft/benchmarks.py` | the user's |

The first form that fits is taken: NuminaMath-CoT has `problem`, `solution` and `messages`. Without its second part a
row has no response; it can be judged with, not trained on. `answer` is the true final answer, a text or a number, and
never a turn; `answer_kind` says how it is compared, `source` and `difficulty` are taken where they are a text and a
whole number.

Parquet and Arrow are decoded by C++ that a hostile file could bring down or fill with gigabytes from a few bytes. So a
process of its own with a limit of memory does it, and hands JSON lines to the one reader of lines; nothing in a file is
executed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import Field
from pydantic_core import from_json

from components.dft import benchmarks
from components.dft.benchmarks import WrongForm
from components.store.errors import ConfigurationError
from components.store.shell import die_with_parent
from data_contracts.base import Contract
from data_contracts.chat import AnswerKind, ChatExample, Message, Role
from data_contracts.chat_reasons import chat_finding
from data_contracts.reasons import Finding

_PARQUET, _ARROW = b"PAR1", b"\xff\xff\xff\xff"
"""How such files begin. Names do not tell: the store's local copies are named by their hashes."""
FIELDS = (
    "messages", "prompt", "completion", "response", "problem", "solution", "answer", "answer_kind", "source",
    "difficulty", *benchmarks.FIELDS,
)  # fmt: skip
_ROLES, _KINDS = get_args(Role), get_args(AnswerKind)
_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?\.(parquet|arrow)")
"""How Hugging Face names the pieces of a split"""
_CHUNK_BYTES = 1 << 16
_BATCH_ROWS = 128
_WAIT_SECONDS = 600.0
"""Longest wait for the next bytes of the process that reads a table"""


class ReadLimits(Contract):
    """What a hostile or mistaken file can cost at most. Nesting is limited by the JSON parser, to 200 levels."""

    max_row_bytes: int = Field(default=1 << 20, gt=0, description="longest line, or row as a line")
    max_file_bytes: int = Field(default=16 << 30, gt=0)
    max_rows: int = Field(default=5_000_000, gt=0, description="of all files together, malformed ones too")
    max_table_memory: int = Field(default=2 << 30, gt=0, description="bytes for decoding one Parquet or Arrow file")


LIMITS = ReadLimits()


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was found. `example` is None where it could not be made into a chat; then `findings` say why."""

    where: str
    """file:line, or file:row, counted from 1; the file alone if it is the file that is wrong"""
    example: ChatExample | None
    findings: tuple[Finding, ...] = ()


class _Unreadable(Exception):
    """The rest of the file can't be read."""


def read_chats(paths: Sequence[Path], limits: ReadLimits = LIMITS) -> Iterator[Row]:
    """Every row of the files and folders `paths`, in their order. What is wrong in a file becomes a finding.

    Of a folder the `.jsonl` and `.parquet` files are read, and `data-*.arrow` as `save_to_disk` writes it.
    Raises ConfigurationError at once if a path does not exist, holds no such file, mixes splits or lacks a shard.
    """
    files = [found for path in paths for found in _files(path)]
    return _rows(files, limits)


def parse_row(line: bytes, where: str) -> Row:
    """The row that is written in `line`. Never raises."""
    try:
        value = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        return _refused(where, "inventory.malformed-row", f"no JSON: {error}")
    try:
        return Row(where, _example(value))
    except WrongForm as error:
        return _refused(where, "inventory.unknown-form", str(error))


def _files(path: Path) -> list[tuple[str, Path]]:
    """(name in findings, file) of what is to be read at `path`."""
    if path.is_file():
        return [(path.name, path)]
    if not path.is_dir():
        raise ConfigurationError(f"there is no file or folder {path} to read chats from")
    shards = {p: found for p in path.iterdir() if (found := _SHARD.fullmatch(p.name))}
    # Only shards of an Arrow folder are data: `datasets` leaves files of its cache beside them.
    files = sorted(p for p in path.iterdir() if p.is_file() and (p in shards or p.suffix in (".jsonl", ".parquet")))
    if not files:
        folders = ", ".join(sorted(p.name for p in path.iterdir() if p.is_dir())[:10])
        hint = f"it has the folders {folders}: name one" if folders else "name a folder that does"
        raise ConfigurationError(f"{path} holds no .jsonl, .parquet or data-*.arrow file; {hint}")
    _check_shards(path, list(shards.values()))
    return [(f"{path.name}/{file.name}", file) for file in files]


def _check_shards(folder: Path, shards: list[re.Match[str]]) -> None:
    """One split, and all of it: half a data set must not pass for the whole, nor the test for training."""
    splits = sorted({shard["split"] for shard in shards})
    if len(splits) > 1:
        raise ConfigurationError(f"{folder} holds the splits {', '.join(splits)}; name the files of one")
    numbers = {int(shard["number"]) for shard in shards}
    missing = sorted(set(range(max((int(shard["count"]) for shard in shards), default=0))) - numbers)
    if missing:
        raise ConfigurationError(f"{folder} lacks {len(missing)} shards of {splits[0]}, first number {missing[0]}")


def _rows(files: list[tuple[str, Path]], limits: ReadLimits) -> Iterator[Row]:
    count = 0
    for name, path in files:
        for row in _file_rows(name, path, limits):
            if count == limits.max_rows:
                yield _refused(name, "inventory.too-many-rows", f"only the first {count} rows were read")
                return
            count += 1
            yield row


def _file_rows(name: str, path: Path, limits: ReadLimits) -> Iterator[Row]:
    size = path.stat().st_size
    if size > limits.max_file_bytes:
        message = f"{name} has {size} bytes, at most {limits.max_file_bytes} are read"
        yield _refused(name, "inventory.file-too-large", message)
        return
    try:
        chunks = _table_chunks(path, limits) if _kind(path) in (_PARQUET, _ARROW) else _file_chunks(path)
        for number, line in enumerate(_lines(chunks, limits.max_row_bytes), 1):
            where = f"{name}:{number}"
            if line is None:
                yield _refused(where, "inventory.row-too-large", f"more than {limits.max_row_bytes} bytes")
            elif line.strip():
                yield parse_row(line, where)
    except (OSError, _Unreadable) as error:
        yield _refused(name, "inventory.unreadable-file", f"{name} can't be read to its end: {_short(str(error))}")


def _kind(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(4)


def _lines(chunks: Iterator[bytes], longest: int) -> Iterator[bytes | None]:
    """The lines of a stream, without their ends. None stands for each that is longer than `longest`; it is not kept."""
    rest, overlong = b"", False
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield None if overlong or len(line) > longest else line
            overlong = False
        if len(rest) > longest:
            rest, overlong = b"", True
    if rest or overlong:
        yield None if overlong else rest


def _file_chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _table_chunks(path: Path, limits: ReadLimits) -> Iterator[bytes]:
    """The rows of a Parquet or Arrow file as JSON lines, from a process that reads it. Raises _Unreadable."""
    command = [sys.executable, "-m", "components.dft.reading", str(path), str(limits.max_table_memory)]
    # Arrow's other allocators reserve memory ahead of need, which would count against the limit.
    environment = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment)
        assert child.stdout is not None
        try:
            while True:
                if not select.select([child.stdout], [], [], _WAIT_SECONDS)[0]:
                    raise _Unreadable(f"the process that reads it said nothing for {_WAIT_SECONDS:.0f} s")
                chunk = os.read(child.stdout.fileno(), _CHUNK_BYTES)
                if not chunk:
                    break
                yield chunk
            code = child.wait(_WAIT_SECONDS)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
        if code < 0:
            raise _Unreadable(f"the process that reads it was ended by {signal.Signals(-code).name}")
        if code > 0:
            errors.seek(0)
            raise _Unreadable(errors.read(_CHUNK_BYTES).decode(errors="replace"))


def _example(value: Any) -> ChatExample:
    """The chat that a row's JSON holds, in whichever form."""
    if not isinstance(value, dict):
        raise WrongForm(f"a row must be an object, found {_short(repr(value))}")
    row = {name: value[name] for name in FIELDS if value.get(name) is not None}
    if "messages" in row:
        messages = _turns("messages", row["messages"])
    elif "prompt" in row:
        completion = "completion" if "completion" in row else "response"
        messages = [*_side(row, "prompt", "user"), *_side(row, completion, "assistant")]
    elif "problem" in row:
        messages = [*_side(row, "problem", "user"), *_side(row, "solution", "assistant")]
    else:
        row |= benchmarks.as_problem(row)
        messages = _side(row, "problem", "user")
    if not messages:
        raise WrongForm("the row has no message")
    answer, source, difficulty = (row.get(name) for name in ("answer", "source", "difficulty"))
    if isinstance(answer, bool) or not isinstance(answer, str | int | float | None):
        raise WrongForm(f"answer is neither a text nor a number: {_short(repr(answer))}")
    kind = row.get("answer_kind", "math")
    if kind not in _KINDS:
        raise WrongForm(f"answer_kind is {_short(repr(kind))}, not one of {', '.join(_KINDS)}")
    return ChatExample(
        messages=tuple(messages),
        answer="" if answer is None else str(answer),
        answer_kind=kind,
        source=source if isinstance(source, str) else "",
        difficulty=difficulty if isinstance(difficulty, int) and difficulty >= 0 else 0,
    )


def _side(row: dict[str, Any], name: str, role: Role) -> list[Message]:
    """One side of an exchange: a text is one turn of `role`, a list is messages, nothing is no turn."""
    value = row.get(name)
    if value is None:
        return []
    return [Message(role=role, content=value)] if isinstance(value, str) else _turns(name, value)


def _turns(name: str, value: Any) -> list[Message]:
    if not isinstance(value, list):
        raise WrongForm(f"{name} is no list of messages: {_short(repr(value))}")
    return [_turn(f"{name}[{position}]", entry) for position, entry in enumerate(value)]


def _turn(name: str, entry: Any) -> Message:
    if not isinstance(entry, dict):
        raise WrongForm(f"{name} is no object: {_short(repr(entry))}")
    role: Any = entry.get("role")
    content: Any = entry.get("content")
    if role not in _ROLES:
        raise WrongForm(f"{name} has the role {_short(repr(role))}, not one of {', '.join(_ROLES)}")
    if not isinstance(content, str):
        raise WrongForm(f"{name} has no text as its content: {_short(repr(content))}")
    # To drop a tool call or a reasoning in silence would train on something else than what was said.
    for key, held in entry.items():
        if held and key not in ("role", "content"):
            raise WrongForm(f"{name} holds {_short(repr(key))}, which a chat can't keep")
    return Message(role=role, content=content)


def _refused(where: str, code: str, message: str) -> Row:
    return Row(where, None, (chat_finding(code, message, where),))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."


def table_rows(path: Path) -> Iterator[Any]:
    """Each row of a Parquet or Arrow file as a dict of its known fields; a text that says why where it is no row.

    For the process that reads tables: a hostile file may end it. Raises what pyarrow raises, and ValueError.
    """
    import pyarrow as pa

    for batch in _batches(path):
        for start in range(0, len(batch), _BATCH_ROWS):
            piece = batch.slice(start, _BATCH_ROWS)
            try:
                piece.validate(full=True)
                yield from piece.to_pylist()
            except pa.ArrowInvalid:
                yield from map(_valid_row, (piece.slice(i, 1) for i in range(len(piece))))


def _valid_row(single: Any) -> Any:
    import pyarrow as pa

    try:
        single.validate(full=True)
        return single.to_pylist()[0]
    except pa.ArrowInvalid as error:
        return str(error)


def _batches(path: Path) -> Iterator[Any]:
    """Record batches with the known columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if _kind(path) == _PARQUET:
        with pq.ParquetFile(path, buffer_size=1 << 20) as table:
            names = _known(table.schema_arrow.names)
            yield from table.iter_batches(_BATCH_ROWS, columns=names, use_threads=False)
    else:
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            names = _known(stream.schema.names)
            for batch in stream:
                yield batch.select(names)


def _known(names: list[str]) -> list[str]:
    known = [name for name in FIELDS if name in names]
    if not known:
        raise ValueError(f"it has none of the columns {', '.join(FIELDS)}")
    return known


def main(path: str, memory: str) -> None:
    """Print the rows of the table at `path` as JSON lines, in `memory` bytes."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    try:
        for row in table_rows(Path(path)):
            try:
                line = json.dumps(row, ensure_ascii=False)
            except TypeError as error:  # a column of dates or bytes
                line = json.dumps(str(error))
            sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()
    except MemoryError:
        sys.exit(f"it takes more than {memory} bytes of memory")
    except Exception as error:  # whatever pyarrow makes of a damaged file
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
