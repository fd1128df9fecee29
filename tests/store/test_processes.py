"""Many processes at one store, processes killed in the middle, and how much memory one needs."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from components.store.api import Store
from components.store.errors import StoreError
from components.store.files import locked

StartPython = Callable[..., "subprocess.Popen[str]"]


def script(text: str) -> str:
    return textwrap.dedent(text)


def test_one_of_many_processes_creates(store: Store, start_python: StartPython, tmp_path: Path) -> None:
    """Each process tries the same 20 keys; every key must have exactly one winner, and hold its bytes."""
    text = script("""
        import sys, time
        from pathlib import Path
        from components.store.errors import AlreadyExists
        from components.store.open import open_store
        store, me, flag = open_store(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
        print("ready", flush=True)
        deadline = time.monotonic() + 60
        while not flag.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        for i in range(20):
            try:
                store.create(f"contended/{i}", me.encode())
                print(i, flush=True)
            except AlreadyExists:
                pass
    """)
    processes = [start_python("-c", text, store.url, str(n), str(tmp_path / "go")) for n in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    won: dict[str, int] = {}
    for number, process in enumerate(processes):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        for key in out.split():
            assert key not in won, f"{number} and {won[key]} both believe to have created {key}"
            won[key] = number
    assert len(won) == 20
    assert all(store.read(f"contended/{key}") == str(number).encode() for key, number in won.items())


def test_kill_in_the_middle_of_create_file_leaves_nothing(
    store: Store, start_python: StartPython, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(24 << 20))
    text = script("""
        import sys, time
        from pathlib import Path
        import components.store.files as files
        real = files.read_chunks
        def slow(path, chunk_size=1 << 20):
            seen = 0
            for chunk in real(path, chunk_size):
                seen += len(chunk)
                if seen > 17 << 20:  # two parts are on their way
                    print("ready", flush=True)
                    time.sleep(60)
                yield chunk
        files.read_chunks = slow
        from components.store.open import open_store
        open_store(sys.argv[1]).create_file("a/big", Path(sys.argv[2]))
    """)
    process = start_python("-c", text, store.url, str(big))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait(10)
    assert store.stat("a/big") is None
    assert list(store.list("")) == []
    assert store.create_file("a/big", big).size == 24 << 20


def test_lock_of_a_killed_process_is_free_although_its_workers_live(start_python: StartPython, tmp_path: Path) -> None:
    """A builder is killed while its pool's workers hang: the next builder must not wait for them."""
    text = script("""
        import os, sys, time
        from pathlib import Path
        from components.store.files import locked
        with locked(Path(sys.argv[1]), 5):
            worker = os.fork()
            if worker:
                print(worker, flush=True)
            time.sleep(60)
    """)
    process = start_python("-c", text, str(tmp_path / "lock"))
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        with pytest.raises(StoreError, match="has held the lock"), locked(tmp_path / "lock", 0.1):
            pass
        process.kill()
        process.wait(10)
        os.kill(worker, 0)
        with locked(tmp_path / "lock", 0.5):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_large_object_needs_little_memory(store: Store, start_python: StartPython, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with open(big, "wb") as file:
        file.truncate(192 << 20)
    text = script("""
        import resource, sys
        from pathlib import Path
        from components.store.open import open_store
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        store = open_store(sys.argv[1])
        store.create("small", b"x"); store.read("small")
        before = peak()
        made = store.create_file("big", Path(sys.argv[2]))
        assert sum(map(len, store.stream("big"))) == made.size
        store.fetch("big", made.sha256)
        print(peak() - before)
    """)
    out, err = start_python("-c", text, store.url, str(big)).communicate(timeout=120)
    assert out.strip().isdigit(), err
    assert int(out) < 80, f"{out.strip()} MiB more for an object of 192 MiB"


def test_store_travels_to_a_spawned_process(store: Store) -> None:
    """Workers of a process pool get the store as an argument."""
    store.create("k", b"x")
    assert pickle.loads(pickle.dumps(store)).read("k") == b"x"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(store.read, ("k",)).get(60) == b"x"


@pytest.mark.parametrize("engine", ["folder", "minio"])
def test_really_full_disk(engine: str, tmp_path: Path) -> None:
    """A file system of a few megabytes: one clear error, nothing visible of the object that did not fit."""
    inside = script("""
        import os, sys
        from pathlib import Path
        from components.store.errors import StoreError
        from components.store.open import open_store
        from tests.engines.minio import Server, binary
        disk, server = Path(sys.argv[1]), None
        url = str(disk / "store")
        if sys.argv[2] == "minio":
            server = Server(disk / "data", binary())
            server.start()
            os.environ.update(server.environment)
            from components.store.buckets import ensure_bucket
            ensure_bucket("s3://orrery")
            url = "s3://orrery"
        try:
            store, done = open_store(url), 0
            try:
                for i in range(40):
                    store.create(f"a/{i}", os.urandom(4 << 20))
                    done += 1
            except StoreError as error:
                assert [s.key for s in store.list("")] == sorted(f"a/{i}" for i in range(done)), done
                print(error)
        finally:
            if server:
                server.stop()
    """)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = 'mount -t tmpfs -o size=64m none "$1" || exit 77; shift; exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(disk)]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a small file system")
    done = subprocess.run(
        [*command, sys.executable, "-c", inside, str(disk), engine],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "full" in done.stdout
    assert "free" in done.stdout
