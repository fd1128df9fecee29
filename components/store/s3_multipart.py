"""Large conditional uploads: parts in bounded memory, made visible at once and only if the key is still free.

obstore uploads in parts only when it may overwrite; with a condition it gathers the whole object in memory. The server
honours `If-None-Match: *` when an upload is completed, so these three requests are made here. Each is repeatable: an
outage costs the part that it hit. Uploads that a killed process left are dropped by the server after a day.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

from components.store import retry
from components.store.errors import IntegrityError
from components.store.files import read_chunks

_PARALLEL = 2
_ETAG = re.compile(r"<ETag>(.*?)</ETag>")
_UPLOAD_ID = re.compile(r"<UploadId>(.*?)</UploadId>")


class RequestFailed(OSError):
    """A request that the server refused or that did not reach it, worded as obstore words it."""


@dataclass
class Uploader:
    """Makes signed requests to one bucket."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str
    token: str | None
    region: str
    certificates: str | None
    _pool: Any = field(default=None, repr=False)

    def create(
        self, key: str, path: Path, sha256: str, metadata: Mapping[str, str], part: int, do: Callable[..., Any]
    ) -> str:
        """Upload `path` to the free `key`; its etag. `do(call)` makes a request with retries.

        Raises IntegrityError if the bytes are no longer those of `sha256`; RequestFailed (412) if the key is taken.
        """
        upload = do(lambda: self._begin(key, metadata))
        try:
            etags = self._parts(key, upload, path, sha256, part, do)
        except BaseException:
            self._abort(key, upload)
            raise
        return do(lambda: self._complete(key, upload, etags))

    def _parts(self, key: str, upload: str, path: Path, sha256: str, part: int, do: Callable[..., Any]) -> list[str]:
        digest, etags = hashlib.sha256(), []
        pending: deque[Future[str]] = deque()
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for number, data in enumerate(read_chunks(path, part), start=1):
                digest.update(data)
                request = _bind(self._part, key, upload, number, data)
                pending.append(pool.submit(do, request))
                if len(pending) >= _PARALLEL:
                    etags.append(pending.popleft().result())
            etags += [future.result() for future in pending]
        if digest.hexdigest() != sha256:
            raise IntegrityError(f"{key}: the file {path} changed while it was uploaded")
        return etags

    def _begin(self, key: str, metadata: Mapping[str, str]) -> str:
        headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        _, body = self._request("POST", key, "uploads=", headers=headers)
        return _found(_UPLOAD_ID, body)

    def _part(self, key: str, upload: str, number: int, data: bytes) -> str:
        headers, _ = self._request("PUT", key, f"partNumber={number}&uploadId={quote(upload, safe='')}", data)
        return str(headers["ETag"])

    def _complete(self, key: str, upload: str, etags: list[str]) -> str:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for number, etag in enumerate(etags, start=1)
        )
        data = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        query = f"uploadId={quote(upload, safe='')}"
        _, body = self._request("POST", key, query, data, headers={"If-None-Match": "*"})
        if "<Error>" in body:  # the server had begun to answer 200 before it failed
            raise RequestFailed(f"status code: 500 {body}")
        return _found(_ETAG, body).replace("&#34;", '"').replace("&quot;", '"')

    def _abort(self, key: str, upload: str) -> None:
        try:
            self._request("DELETE", key, f"uploadId={quote(upload, safe='')}")
        except OSError:
            return  # the server drops it by itself

    def _request(
        self, method: str, key: str, query: str, data: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[Mapping[str, str], str]:
        """One signed request. Raises RequestFailed with the server's status and answer."""
        from urllib3.exceptions import HTTPError

        url = f"{self.endpoint}/{self.bucket}/{quote(key, safe='/-_.~')}?{query}"
        signed = self._sign(method, url, hashlib.sha256(data).hexdigest(), headers or {})
        signed["Content-Length"] = str(len(data))
        try:
            # a file is sent block by block: its time limit is for one block, that of bytes for all of them
            answer = self._client().request(method, url, body=io.BytesIO(data), headers=signed)
        except HTTPError as error:
            raise RequestFailed(f"HTTP error: {type(error).__name__}") from error
        text = answer.data.decode(errors="replace")
        if answer.status >= 300:
            raise RequestFailed(f"{method} {key}: status code: {answer.status} {text}")
        return answer.headers, text

    def _sign(self, method: str, url: str, sha256: str, headers: Mapping[str, str]) -> dict[str, Any]:
        from minio.credentials import Credentials
        from minio.signer import sign_v4_s3
        from minio.time import to_amz_date

        now, parts = datetime.now(UTC), urlsplit(url)
        named: dict[str, Any] = {
            "Host": parts.netloc,
            "x-amz-content-sha256": sha256,
            "x-amz-date": to_amz_date(now),
            **headers,
        }
        if self.token:
            named["x-amz-security-token"] = self.token
        credentials = Credentials(self.access_key, self.secret_key, self.token)
        return sign_v4_s3(
            method=method, url=parts, region=self.region, headers=named, credentials=credentials,
            content_sha256=sha256, date=now,
        )  # fmt: skip

    def _client(self) -> Any:
        import urllib3

        if self._pool is None:
            timeout = urllib3.Timeout(connect=retry.CONNECT_SECONDS, read=retry.SILENCE_SECONDS)
            options: dict[str, Any] = {"ca_certs": self.certificates} if self.certificates else {}
            self._pool = urllib3.PoolManager(timeout=timeout, retries=False, maxsize=2 * _PARALLEL, **options)
        return self._pool


def _bind(call: Callable[..., str], *arguments: object) -> Callable[[], str]:
    return lambda: call(*arguments)


def _found(pattern: re.Pattern[str], body: str) -> str:
    match = pattern.search(body)
    if match is None:
        raise RequestFailed(f"status code: 502 the answer is not S3's: {body[:200]}")
    return match[1]
