"""The store verifies, syncs and never overwrites; it must not cost much next to what does none of that."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from components.store.open import open_store
from tests.engines.minio import Server

from .conftest import Race, Table

MIB = 1 << 20
SIZE = 32 * MIB
LARGE = 256 * MIB
LEAST_SHARE_OF_SPEED = 0.4
MOST_MEMORY_MIB = 96
"""Parts in flight and their copies; `LARGE` is several times as much."""
MEMORY = """
import sys
from pathlib import Path
from components.store.open import open_store

def peak():  # not getrusage: there a process inherits its parent's peak
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
store, source = open_store(sys.argv[1]), Path(sys.argv[2])
store.create("small", b"x" * 1024)
store.read("small")
peaks = [peak()]
stat = store.create_file(source.name, source)
peaks.append(peak())
for chunk in store.stream(source.name): pass
peaks.append(peak())
store.fetch(source.name, stat.sha256)
peaks.append(peak())
print(*peaks)
"""
"""Prints this process's peak memory in MiB at rest and after an upload, a streamed read and a download."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file that no file system can compress."""
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def keep(chunks: Iterable[Any], target: Path) -> None:
    """The least that an honest copy or download does: hash, write, sync."""
    digest = hashlib.sha256()
    with open(target, "wb") as file:
        for data in chunks:
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while data := file.read(MIB):
            yield data


def speed(seconds: float) -> str:
    return f"{SIZE / MIB / seconds:.0f} MiB/s"


def test_a_folder_keeps_up_with_the_file_system(source: Path, tmp_path: Path, table: Table, race: Race) -> None:
    """A new store each time: an open one remembers which files it has hashed."""
    url, target = os.fspath(tmp_path / "store"), tmp_path / "copy"
    open_store(url).create_file("kept", source)
    plain, honest, written, streamed = race(
        lambda: shutil.copyfile(source, target),
        lambda: keep(read(source), target),
        lambda: open_store(url).create_file(uuid.uuid4().hex, source),
        lambda: sum(map(len, open_store(url).stream("kept"))),
        turns=8,
    )
    table("store in a folder, 32 MiB", [
        ("plain copy", speed(plain)),
        ("copy, hash, sync", speed(honest)),
        ("create_file", speed(written)),
        ("stream, verified", speed(streamed)),
        ("create_file / copy, hash, sync", f"{honest / written:.2f}"),
    ])  # fmt: skip
    assert honest / written >= LEAST_SHARE_OF_SPEED


def test_minio_is_used_nearly_as_fast_as_without_the_store(
    source: Path, tmp_path: Path, table: Table, race: Race, minio_environment: Server
) -> None:
    """Against obstore alone, which neither hashes what it sends nor minds what it overwrites."""
    url, target = f"s3://orrery/{uuid.uuid4().hex}", tmp_path / "copy"
    server, key = minio_environment, iter(range(1000))
    raw = S3Store(
        "orrery", prefix="raw", endpoint=server.endpoint, access_key_id=server.access_key,
        secret_access_key=server.secret_key, region="us-east-1", virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )  # fmt: skip
    kept = open_store(url).create_file("kept", source)

    put, create, get, fetch = race(
        lambda: obstore.put(raw, f"{next(key)}", source, use_multipart=True),
        lambda: open_store(url).create_file(uuid.uuid4().hex, source),
        lambda: keep(obstore.get(raw, "0").stream(min_chunk_size=MIB), target),
        lambda: open_store(url).fetch("kept", str(kept.sha256)).unlink(),
        turns=8,
    )
    table("store in MinIO, 32 MiB", [
        ("obstore put", speed(put)),
        ("create_file", speed(create)),
        ("obstore get, hash, sync", speed(get)),
        ("fetch", speed(fetch)),
        ("create_file / put", f"{put / create:.2f}"),
        ("fetch / get, hash, sync", f"{get / fetch:.2f}"),
    ])  # fmt: skip
    assert put / create >= LEAST_SHARE_OF_SPEED
    assert get / fetch >= LEAST_SHARE_OF_SPEED


def test_large_objects_pass_through_little_memory(source: Path, store_url: str, table: Table) -> None:
    """A checkpoint of many gigabytes must not need as much memory to be kept or fetched."""
    with open(source, "rb+") as file:
        file.truncate(LARGE)
    command = [sys.executable, "-c", MEMORY, store_url, os.fspath(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    rest, upload, stream, fetch = map(int, done.stdout.split())
    kind = "MinIO" if store_url.startswith("s3:") else "folder"
    table(f"peak memory with a file of {LARGE // MIB} MiB, {kind}", [
        ("at rest", f"{rest} MiB"),
        ("after create_file", f"+{upload - rest} MiB"),
        ("after stream", f"+{stream - rest} MiB"),
        ("after fetch", f"+{fetch - rest} MiB"),
    ])  # fmt: skip
    assert fetch - rest <= MOST_MEMORY_MIB < LARGE // MIB / 2
