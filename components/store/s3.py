"""A store in MinIO: obstore for the bytes, written conditionally; retries and deadlines from `retry`.

Each object carries its SHA-256 and the token of the write that made it as user metadata. The token tells a writer whose
answer got lost in an outage that the object it then finds is its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import S3Store as Bucket

from components.store import retry
from components.store.api import Stat
from components.store.errors import (
    AlreadyExists,
    ConfigurationError,
    Conflict,
    IntegrityError,
    NotFound,
)
from components.store.files import CHUNK, Verified, cache_root, explain_os_error, temporary, write_durably
from components.store.keys import INTERNAL, check_key, check_prefix
from components.store.s3_errors import code_of, explain, is_outage
from components.store.s3_multipart import RequestFailed, Uploader

T = TypeVar("T")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PART = 8 << 20  # one request of a large upload or download; S3 wants at least 5 MiB
_MAX_PARTS = 9000  # S3 allows 10000
_FAILURES = (BaseError, OSError)


class S3Store:
    """`components.store.api.Store` over a prefix of a bucket. Threads may share it; forked children must not."""

    def __init__(self, url: str, endpoint: str, access_key: str, secret_key: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self.endpoint = endpoint
        self.bucket, self._prefix = parse_url(url)
        region, certificates = os.environ.get("AWS_REGION", "us-east-1"), os.environ.get("AWS_CA_BUNDLE")
        self._uploader = Uploader(endpoint, self.bucket, access_key, secret_key, token, region, certificates)
        options: dict[str, Any] = {
            "allow_http": True,
            "connect_timeout": timedelta(seconds=retry.CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=retry.SILENCE_SECONDS),
            "timeout": timedelta(seconds=retry.REQUEST_SECONDS),
        }
        if certificates:
            options["root_certificate"] = Path(certificates).read_bytes()
        self._objects = Bucket(
            self.bucket,
            prefix=self._prefix or None,
            endpoint=endpoint,
            access_key_id=access_key,
            secret_access_key=secret_key,
            region=region,
            virtual_hosted_style_request=False,
            client_options=options,  # type: ignore[arg-type]
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
            **({"session_token": token} if token else {}),  # type: ignore[arg-type]
        )
        self._verified = Verified()

    @classmethod
    def open(cls, url: str) -> S3Store:
        """The store at `s3://bucket/prefix`, reached as the environment says; checks that it answers."""
        endpoint, access_key, secret_key = connection(url)
        store = cls(url, endpoint, access_key, secret_key, os.environ.get("AWS_SESSION_TOKEN"))
        store._do(f"opening {url}", lambda: obstore.list_with_delimiter(store._objects, INTERNAL))
        return store

    def __reduce__(self) -> tuple[Callable[[str], S3Store], tuple[str]]:
        return (S3Store.open, (self.url,))

    def __repr__(self) -> str:
        return f"S3Store({self.url!r})"

    # -- writing ---------------------------------------------------------------------------------------------------

    def create(self, key: str, data: bytes) -> Stat:
        digest = hashlib.sha256(data).hexdigest()
        return self._put(key, data, digest, "create")

    def create_file(self, key: str, path: Path, sha256: str | None = None) -> Stat:
        try:
            size, digest = path.stat().st_size, self._verified.hash(path)
        except OSError as error:
            raise explain_os_error(error, f"writing {key}", str(path)) from error
        if sha256 is not None and digest != sha256:
            raise IntegrityError(f"{key}: the bytes to write have SHA-256 {digest}, not {sha256} as promised")
        if size <= _PART:
            return self._put(key, _unchanged(path, digest), digest, "create")
        return self._create_in_parts(key, path, size, digest)

    def replace(self, key: str, data: bytes, etag: str | None) -> Stat:
        digest = hashlib.sha256(data).hexdigest()
        mode = "create" if etag is None else {"e_tag": etag}
        try:
            return self._put(key, data, digest, mode)
        except AlreadyExists as error:
            raise Conflict(f"{key} changed since it was read; read it again and decide again") from error

    def overwrite(self, key: str, data: bytes) -> Stat:
        digest = hashlib.sha256(data).hexdigest()
        return self._put(key, data, digest, "overwrite")

    def delete(self, key: str) -> None:
        check_key(key)
        self._do(f"deleting {key}", lambda: obstore.delete(self._objects, key))

    def _create_in_parts(self, key: str, path: Path, size: int, digest: str) -> Stat:
        check_key(key)
        if self.stat(key) is not None:  # spares the upload; the condition at its end decides
            raise AlreadyExists(f"{key} is already in {self.url}; objects are never overwritten")
        token = uuid.uuid4().hex
        full_key = f"{self._prefix}/{key}" if self._prefix else key
        part = max(_PART, -(-size // _MAX_PARTS))

        def do(call: Callable[[], T]) -> T:
            return self._do(f"writing {key}", call, passing=(RequestFailed,))

        try:
            etag = self._uploader.create(full_key, path, digest, {"sha256": digest, "token": token}, part, do)
        except RequestFailed as error:
            # NoSuchUpload: it was completed, and the answer got lost
            if code_of(error) not in ("PreconditionFailed", "NoSuchUpload") or self.stat(key) is None:
                raise explain(error, f"writing {key}", self.bucket, self.endpoint) from error
            etag = self._own(key, token)
            if not etag:
                raise AlreadyExists(f"{key} is already in {self.url}; objects are never overwritten") from error
        except OSError as error:
            raise explain_os_error(error, f"writing {key}", str(path)) from error
        return Stat(key=key, size=size, etag=etag, sha256=digest)

    def _put(self, key: str, data: bytes, digest: str, mode: Any) -> Stat:
        """One conditional write, repeated over an outage. Raises AlreadyExists if the condition fails."""
        check_key(key)
        token = uuid.uuid4().hex

        def attempt() -> str:
            result = obstore.put(
                self._objects,
                key,
                data,
                attributes={"sha256": digest, "token": token},
                mode=mode,
                use_multipart=False,
            )
            return result["e_tag"] or ""

        try:
            etag = self._do(f"writing {key}", attempt, passing=(AlreadyExistsError, PreconditionError))
        except (AlreadyExistsError, PreconditionError) as error:
            etag = self._own(key, token)
            if not etag:
                raise AlreadyExists(f"{key} is already in {self.url}; objects are never overwritten") from error
        return Stat(key=key, size=len(data), etag=etag, sha256=digest)

    def _own(self, key: str, token: str) -> str:
        """The etag of the object if it is the one written with `token`: the server had done it, its answer was lost."""
        try:
            found = self._head(key)
        except NotFound:
            return ""
        return found.meta["e_tag"] or "" if found.attributes.get("token") == token else ""

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, key: str, sha256: str | None = None) -> bytes:
        data, _, digest = self._read(key)
        if sha256 is not None and digest != sha256:
            raise IntegrityError(f"{key} in {self.url} has SHA-256 {digest}, not {sha256} as promised")
        return data

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        data, etag, _ = self._read(key)
        return data, etag

    def _read(self, key: str) -> tuple[bytes, str, str]:
        check_key(key)

        def attempt() -> tuple[bytes, str, str | None]:
            found = obstore.get(self._objects, key)
            return bytes(found.bytes()), found.meta["e_tag"] or "", found.attributes.get("sha256")

        data, etag, promised = self._do(f"reading {key}", attempt)
        digest = hashlib.sha256(data).hexdigest()
        self._check(key, digest, promised)
        return data, etag, digest

    def read_range(self, key: str, start: int, length: int) -> bytes:
        if start < 0 or length < 0:
            raise ConfigurationError(f"read_range of {key}: start {start} and length {length} must not be negative")
        found = self._head(check_key(key))
        end = min(start + length, found.meta["size"])
        return self._part(key, start, end, found.meta["e_tag"]) if start < end else b""

    def stream(self, key: str, chunk_size: int = CHUNK) -> Iterator[bytes]:
        found = self._head(check_key(key))
        digest = hashlib.sha256()
        for part in self._parts(key, found.meta, max(chunk_size, _PART // chunk_size * chunk_size)):
            for offset in range(0, len(part), chunk_size):
                chunk = bytes(part[offset : offset + chunk_size])
                digest.update(chunk)
                yield chunk
        self._check(key, digest.hexdigest(), found.attributes.get("sha256"))

    def fetch(self, key: str, sha256: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise ConfigurationError(f"fetch of {key}: {sha256!r} is not a SHA-256")
        path = cache_root() / "objects" / sha256[:2] / sha256
        try:
            if path.is_file() and self._verified.hash(path) == sha256:
                return path
            part = temporary(path.parent)
            try:
                found = self._head(check_key(key))
                _, digest = write_durably(part, self._parts(key, found.meta, _PART))
                self._check(key, digest, found.attributes.get("sha256"))
                if digest != sha256:
                    raise IntegrityError(f"{key} in {self.url} has SHA-256 {digest}, not {sha256} as promised")
                os.chmod(part, 0o444)
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise explain_os_error(error, f"downloading {key}", str(path.parent)) from error
        return path

    def stat(self, key: str) -> Stat | None:
        try:
            found = self._head(check_key(key))
        except NotFound:
            return None
        sha256 = found.attributes.get("sha256")
        return Stat(key=key, size=found.meta["size"], etag=found.meta["e_tag"] or "", sha256=sha256)

    def list(self, prefix: str) -> Iterator[Stat]:
        prefix = check_prefix(prefix)
        last: str | None = None
        while True:  # page after page, each one a repeatable request that goes on after the last key seen
            page = self._do(f"listing {prefix}", lambda after=last: self._page(prefix, after))  # type: ignore[misc]
            for found in page:
                last = found["path"]
                yield Stat(key=found["path"], size=found["size"], etag=found["e_tag"] or "", sha256=None)
            if not page:
                return

    def _page(self, prefix: str, after: str | None) -> Any:
        stream = obstore.list(self._objects, prefix or None, offset=after, chunk_size=1000)
        return next(iter(stream), [])

    # -- requests --------------------------------------------------------------------------------------------------

    def _head(self, key: str) -> obstore.GetResult:
        return self._do(f"reading {key}", lambda: obstore.get(self._objects, key, options={"head": True}))

    def _parts(self, key: str, meta: obstore.ObjectMeta, size: int) -> Iterator[memoryview]:
        """An object in parts of `size`, the next one under way while one is used; nothing is verified.

        An outage costs the part it hit, and no request lasts long.
        """
        starts = range(0, meta["size"], size)

        def part(start: int) -> memoryview:
            return memoryview(self._part(key, start, min(start + size, meta["size"]), meta["e_tag"]))

        if len(starts) <= 1:
            yield from map(part, starts)
            return
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(part, 0)
            for start in starts[1:]:
                here, coming = coming.result(), pool.submit(part, start)
                yield here
            yield coming.result()

    def _part(self, key: str, start: int, end: int, etag: str | None) -> bytes:
        """Bytes `start`..`end` of the object as it was when its etag was read."""
        options: Any = {"range": (start, end)}
        if etag:
            options["if_match"] = etag
        try:
            return self._do(
                f"reading {key}",
                lambda: bytes(obstore.get(self._objects, key, options=options).bytes()),
                passing=(PreconditionError,),
            )
        except PreconditionError as error:
            raise Conflict(f"{key} in {self.url} was replaced while it was read; read it again") from error

    def _do(self, what: str, call: Callable[[], T], passing: tuple[type[BaseException], ...] = ()) -> T:
        """`call` with retries; its errors explained, except those the caller knows how to read."""
        try:
            return retry.patiently(call, is_outage, f"MinIO at {self.endpoint}")
        except _FAILURES as error:
            if isinstance(error, passing):
                raise
            raise explain(error, what, self.bucket, self.endpoint) from error

    def _check(self, key: str, digest: str, promised: str | None) -> None:
        if promised and digest != promised:
            raise IntegrityError(
                f"{key} in {self.url} is damaged: its bytes have SHA-256 {digest}, not {promised} as written; "
                "restore it from a copy, or delete its version and run the stage again"
            )


def _unchanged(path: Path, sha256: str) -> bytes:
    """A small file's bytes. Raises IntegrityError if they are not those that were hashed."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(f"the file {path} changed while it was uploaded")
    return data


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`. Raises ConfigurationError."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(f"{url!r} names no valid bucket; write s3://bucket/prefix with 3 to 63 of a-z 0-9 . -")
    return bucket, check_prefix(prefix)


def connection(url: str) -> tuple[str, str, str]:
    """Endpoint, access key and secret key from the environment. Raises ConfigurationError naming what is missing."""
    endpoint = os.environ.get("MINIO_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if not endpoint:
        raise ConfigurationError(
            f"{url} needs MinIO's address: set MINIO_ENDPOINT, for example http://minio:9000"
            + _in_a_step("ConfigMap store with the entry MINIO_ENDPOINT")
        )
    if "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    if not re.fullmatch(r"https?://[^/\s@?#]+/?", endpoint):
        raise ConfigurationError(
            f"MINIO_ENDPOINT is {endpoint!r}; write it as http://host:port, without path or credentials"
        )
    keys = [os.environ.get(name, "") for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    if not all(keys):
        raise ConfigurationError(
            f"{url} needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            + _in_a_step("Secret store-{role} with the entries access-key-id and secret-access-key")
        )
    return endpoint.rstrip("/"), keys[0], keys[1]


def _in_a_step(what: str) -> str:
    """Where a pipeline's step on a cluster, which nobody can set a variable for, has it from."""
    role = os.environ.get("ORRERY_ROLE")
    return f"; on the cluster: make the {what.format(role=role)}, in the steps' namespace" if role else ""
