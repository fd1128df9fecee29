"""What only a server can suffer: outages, lost answers, wrong credentials; each ends well or in one clear message."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from components.store import files
from components.store.buckets import ensure_bucket
from components.store.errors import AlreadyExists, ConfigurationError, Conflict, IntegrityError, StoreError
from components.store.open import open_store
from components.store.s3 import S3Store
from tests.engines.minio import Server, binary


@pytest.fixture
def s3(minio_environment: Server) -> S3Store:
    store = open_store(f"s3://orrery/{os.urandom(6).hex()}")
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that this test may kill."""
    server = Server(tmp_path / "minio", binary())
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.start()
    ensure_bucket("s3://orrery")
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AWS_ACCESS_KEY_ID", "nobody", "rejects the credentials"),
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "rejects the credentials"),
        ("MINIO_ENDPOINT", "http://127.0.0.1:9", "does not answer"),
        ("MINIO_ENDPOINT", "http://no-such-host.invalid:9000", "does not answer"),
    ],
)
def test_wrong_connection_is_one_clear_message(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv("ORRERY_STORE_PATIENCE", "0.5")
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=says) as caught:
        open_store(s3.url)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_missing_bucket_names_the_mend(s3: S3Store) -> None:
    with pytest.raises(StoreError, match="no bucket 'no-such-bucket'; create it"):
        open_store("s3://no-such-bucket/x")


@pytest.mark.parametrize("name", ["MINIO_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_missing_setting_is_named(s3: S3Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match=name):
        open_store(s3.url)


@pytest.mark.parametrize("url", ["s3://", "s3://A_B/x", "s3://bucket/../x", "s3://bucket//x"])
def test_wrong_url_is_a_configuration_error(s3: S3Store, url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(url)


@pytest.mark.parametrize("endpoint", ["http://user:secret@host:9000", "ftp://host", "http://host/path"])
def test_wrong_endpoint_is_a_configuration_error(s3: S3Store, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("MINIO_ENDPOINT", endpoint)
    with pytest.raises(ConfigurationError, match="MINIO_ENDPOINT"):
        open_store(s3.url)


def test_damaged_object_is_never_given_out(s3: S3Store) -> None:
    promised = hashlib.sha256(b"right").hexdigest()
    obstore.put(s3._objects, "k", b"wrong", attributes={"sha256": promised})
    for action in (lambda: s3.read("k"), lambda: list(s3.stream("k")), lambda: s3.fetch("k", promised)):
        with pytest.raises(IntegrityError, match="damaged"):
            action()


def test_damaged_cache_is_fetched_again(s3: S3Store) -> None:
    made = s3.create("w", b"weights")
    assert made.sha256
    path = s3.fetch("w", made.sha256)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert s3.fetch("w", made.sha256).read_bytes() == b"weights"


def test_file_that_changes_while_it_is_uploaded_is_not_published(
    s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(20 << 20))

    def changing(path: Path, size: int) -> Iterator[bytes]:
        yield bytes(10 << 20)
        yield b"\1" * (10 << 20)

    monkeypatch.setattr("components.store.s3_multipart.read_chunks", changing)
    with pytest.raises(StoreError, match="changed while"):
        s3.create_file("big", big)
    assert s3.stat("big") is None


def test_object_replaced_while_it_is_streamed_is_noticed(s3: S3Store) -> None:
    s3.overwrite("k", bytes(20 << 20))
    stream = s3.stream("k")
    next(stream)
    s3.overwrite("k", b"\1" * (20 << 20))
    with pytest.raises(Conflict):
        list(stream)


def test_bucket_is_made_once(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ensure_bucket("s3://fresh/prefix") is True
    assert ensure_bucket("s3://fresh/prefix") is False
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(StoreError, match="credentials"):
        ensure_bucket("s3://other")


def test_killed_server_that_comes_back_costs_only_time(own_server: Server, tmp_path: Path) -> None:
    store = open_store("s3://orrery/outage")
    (tmp_path / "big").write_bytes(os.urandom(1 << 20) * 18)
    made = store.create_file("old", tmp_path / "big")
    assert made.sha256
    stream = store.stream("old")
    start = [next(stream)]

    own_server.stop()
    back = threading.Timer(2.5, lambda: own_server.start(wait=False))
    back.start()
    began = time.monotonic()
    results: dict[str, object] = {}
    actions = {
        "create": lambda: store.create("new", b"x"),
        "create_file": lambda: store.create_file("new-big", tmp_path / "big").sha256,
        "replace": lambda: store.replace("channel", b"1", None),
        "list": lambda: [s.key for s in store.list("old")],
        "stream": lambda: hashlib.sha256(b"".join([*start, *stream])).hexdigest(),
    }
    threads = [threading.Thread(target=lambda n=n, a=a: results.update({n: a()})) for n, a in actions.items()]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    back.join()
    assert sorted(results) == sorted(actions), "a call gave up although the server came back"
    assert results["stream"] == results["create_file"] == made.sha256
    assert time.monotonic() - began >= 2


def test_server_that_stays_away_is_given_up(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store("s3://orrery/x")
    own_server.stop()
    monkeypatch.setenv("ORRERY_STORE_PATIENCE", "1")
    began = time.monotonic()
    with pytest.raises(StoreError, match="does not answer; start it"):
        store.read("k")
    assert time.monotonic() - began < 15


class _LossyProxy:
    """Passes requests on to a server, and loses its answer to the first that begins so: the connection breaks."""

    def __init__(self, port: int, begins: bytes) -> None:
        self._server, self._begins, self._lose = port, begins, True
        self.bytes_per_second = float("inf")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server:
            state = {"hit": False}

            def upstream() -> None:
                while data := client.recv(65536):
                    state["hit"] |= re.match(self._begins, data) is not None
                    time.sleep(len(data) / self.bytes_per_second)
                    server.sendall(data)

            threading.Thread(target=upstream, daemon=True).start()
            while data := server.recv(65536):
                if state["hit"] and self._lose:
                    self._lose, self.lost = False, self.lost + 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)


@pytest.fixture
def lossy(
    s3: S3Store, minio_environment: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[_LossyProxy]:
    proxy = _LossyProxy(minio_environment.port, getattr(request, "param", rb"PUT "))
    monkeypatch.setenv("MINIO_ENDPOINT", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


def test_create_whose_answer_got_lost_is_not_taken_for_another_s(s3: S3Store, lossy: _LossyProxy) -> None:
    store = open_store(s3.url)
    made = store.create("k", b"mine")
    assert lossy.lost == 1
    assert made.etag == (s3.stat("k") or made).etag
    with pytest.raises(AlreadyExists):
        store.create("k", b"mine")


@pytest.mark.parametrize(
    "lossy", [rb"POST \S+uploads=", rb"PUT \S+partNumber=2&", rb"POST \S+uploadId="], indirect=True, ids=str
)
def test_large_upload_survives_the_loss_of_any_answer(s3: S3Store, lossy: _LossyProxy, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(1 << 20) * 18)
    made = open_store(s3.url).create_file("k", tmp_path / "big")
    assert lossy.lost == 1
    assert s3.stat("k") == made
    assert hashlib.sha256(s3.read("k")).hexdigest() == made.sha256


@pytest.mark.parametrize("lossy", [rb"nothing"], indirect=True, ids=str)
def test_large_upload_over_a_slow_line_is_only_slow(
    s3: S3Store, lossy: _LossyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit of a connection is for the peer's silence, not for a whole part: a home line has 1 MB/s."""
    monkeypatch.setattr("components.store.retry.CONNECT_SECONDS", 0.5)
    monkeypatch.setenv("ORRERY_STORE_PATIENCE", "10")
    lossy.bytes_per_second = 3e6
    (tmp_path / "big").write_bytes(os.urandom(1 << 20) * 9)
    made = open_store(s3.url).create_file("k", tmp_path / "big")
    assert s3.stat("k") == made


def test_large_upload_loses_to_one_that_came_first(
    s3: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is taken while the parts are on their way: the condition on completing must hold."""
    (tmp_path / "big").write_bytes(bytes(18 << 20))
    real, other = files.read_chunks, open_store(s3.url)

    def slow(path: Path, size: int) -> Iterator[bytes]:
        yield from real(path, size)
        other.create("k", b"first")

    monkeypatch.setattr("components.store.s3_multipart.read_chunks", slow)
    with pytest.raises(AlreadyExists):
        s3.create_file("k", tmp_path / "big")
    assert s3.read("k") == b"first"


def test_replace_whose_answer_got_lost_is_no_conflict(s3: S3Store, lossy: _LossyProxy) -> None:
    first = s3.replace("k", b"1", None)
    second = open_store(s3.url).replace("k", b"2", first.etag)
    assert lossy.lost == 1
    assert s3.read_with_etag("k") == (b"2", second.etag)
