"""What an S3 server's failures mean to a person: which is an outage, and what mends the others."""

from __future__ import annotations

import re

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from components.store.errors import NotFound, StoreError

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"ConditionalRequestConflict", "IncompleteBody", "OperationAborted", "RequestTimeout", "SlowDown"}
_BAD_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidTokenId", "ExpiredToken"}


def code_of(error: BaseException) -> str:
    """The server's error code, '' if it gave none (a HEAD has no body)."""
    found = _CODE.search(str(error))
    return found[1] if found else ""


def status_of(error: BaseException) -> int | None:
    """The HTTP status, None if the server was not reached."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def is_outage(error: BaseException) -> bool:
    """Whether to try again: the server was not reached, or says that it can't serve just now."""
    if isinstance(error, (AlreadyExistsError, PreconditionError)):
        return code_of(error) in _TRANSIENT_CODES
    if isinstance(error, TimeoutError):
        return True
    if not isinstance(error, (BaseError, OSError)) or isinstance(error, FileNotFoundError):
        return False
    status = status_of(error)
    if status is None:
        return "HTTP error" in str(error)
    return status in _TRANSIENT_STATUS or code_of(error) in _TRANSIENT_CODES


def explain(error: BaseException, what: str, bucket: str, endpoint: str) -> StoreError:
    """The message for `error`, which happened while doing `what`."""
    code, status = code_of(error), status_of(error)
    here = f"MinIO at {endpoint}"
    if code == "NoSuchBucket":
        return StoreError(
            f"{what}: {here} has no bucket {bucket!r}; create it (mc mb {bucket}) or correct the bucket in ORRERY_STORE"
        )
    if code in _BAD_CREDENTIALS:
        return StoreError(
            f"{what}: {here} rejects the credentials ({code}); correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if code == "RequestTimeTooSkewed":
        return StoreError(f"{what}: this machine's clock differs too much from that of {here}; set the clock")
    if code == "XMinioStorageFull" or status == 507:
        return StoreError(f"{what}: the disk of {here} is full; free space on it or add a drive, then start again")
    if "Quota" in code:
        return StoreError(
            f"{what}: the quota of bucket {bucket!r} at {here} is used up; raise it or delete old versions"
        )
    if status in (401, 403):
        return StoreError(
            f"{what}: {here} refuses ({code or 'AccessDenied'}); let this access key read and write in {bucket!r}"
        )
    if isinstance(error, FileNotFoundError):
        return NotFound(f"{what}: there is no such object in bucket {bucket!r} at {here}")
    if is_outage(error):
        reason = f"answers with {status} {code}".rstrip() if status else "does not answer"
        return StoreError(f"{what}: {here} {reason}; start it, or correct MINIO_ENDPOINT")
    return StoreError(f"{what}: {here} failed with {code or type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0][:300]
