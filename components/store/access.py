"""Who may touch what in MinIO: one user per kind of work, bounded to the prefixes that it reads and writes.

A stage has the credentials of the secret `store-<role>` of its role. So its fault, or a stolen key of it, ends at
its own prefixes: intake can't write models, training can't change raw episodes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.store.buckets import ensure_bucket
from components.store.errors import ConfigurationError, StoreError
from components.store.s3 import connection, parse_url

KEY_FILE, SECRET_FILE = "access-key-id", "secret-access-key"
"""The entries of a role's secret, and the names of its files where it is mounted."""


@dataclass(frozen=True, slots=True)
class Role:
    """Top folders of the store that a kind of work writes, and those it reads besides."""

    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


ROLES = {
    "recording": Role(writes=("raw",)),
    "intake": Role(writes=("datasets", "quarantine"), reads=("raw", "models")),
    "training": Role(writes=("models", "checkpoints"), reads=("datasets", "evaluations")),
    "evaluation": Role(writes=("evaluations",), reads=("datasets", "models")),
    "release": Role(writes=("models", "evaluations", "channels"), reads=("datasets",)),
    "serving": Role(reads=("models", "evaluations", "channels")),
}
"""Each role by name. Who writes at all may also claim what it publishes, and say in `runs/` how it goes."""


def policy(role: str, url: str) -> dict[str, Any]:
    """The S3 policy document of a role in the store `s3://bucket/prefix`.

    Everybody may list: names are no secret, and a store that can't list answers "denied" where nothing is.
    """
    bucket, prefix = parse_url(url)
    root = f"arn:aws:s3:::{bucket}/{prefix}/" if prefix else f"arn:aws:s3:::{bucket}/"
    bounds = ROLES[role]
    bookkeeping = (*(f"claims/{folder}" for folder in bounds.writes), "runs") if bounds.writes else ()
    written = [f"{root}{folder}/*" for folder in (*bounds.writes, *bookkeeping)]
    read = [f"{root}{folder}/*" for folder in bounds.reads]
    statements = [
        _allow(("s3:GetBucketLocation", "s3:ListBucket"), [f"arn:aws:s3:::{bucket}"]),
        _allow(("s3:GetObject",), [*written, *read]),
    ]
    if written:
        write = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
        statements.append(_allow(write, written))
    return {"Version": "2012-10-17", "Statement": statements}


def set_up(url: str, secrets: Path) -> None:
    """Make the bucket and every role's policy and user, and say so; harmless when all of it is there.

    `secrets` holds a folder per role with the files `access-key-id` and `secret-access-key`; changed ones are taken
    over. The environment's credentials are the administrator's. Raises ConfigurationError for a role without
    credentials, StoreError if MinIO refuses or can't be reached.
    """
    from minio import MinioAdmin
    from minio.credentials import StaticProvider
    from minio.error import MinioAdminException
    from urllib3.exceptions import HTTPError

    users = {role: _credentials(secrets / role, role) for role in ROLES}
    print(url, "made" if ensure_bucket(url) else "was there")
    endpoint, access_key, secret_key = connection(url)
    address = urlsplit(endpoint)
    admin = MinioAdmin(
        endpoint=address.netloc, credentials=StaticProvider(access_key, secret_key), secure=address.scheme == "https"
    )
    bucket, _ = parse_url(url)
    for role, (user, secret) in users.items():
        name = f"{bucket}-{role}"
        try:
            admin.policy_add(name, policy=policy(role, url))
            admin.user_add(user, secret)
            admin.policy_set(name, user=user)  # in place of what the user had, where `attach` would add to it
        except (MinioAdminException, HTTPError) as error:
            reason = " ".join(str(error).split())[:300]
            raise StoreError(
                f"MinIO at {endpoint} did not take the user of role {role!r}: {reason}; check that the credentials are "
                "its administrator's"
            ) from None
        print(f"{role}: writes {', '.join(ROLES[role].writes) or 'nothing'}")


def _allow(actions: Sequence[str], resources: Sequence[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


def _credentials(folder: Path, role: str) -> tuple[str, str]:
    try:
        user, secret = ((folder / name).read_text().strip() for name in (KEY_FILE, SECRET_FILE))
    except OSError as error:
        raise ConfigurationError(
            f"role {role!r} has no credentials: {error.filename} can't be read; make the secret store-{role} with "
            f"the entries {KEY_FILE} and {SECRET_FILE}"
        ) from None
    if len(user) < 3 or len(secret) < 8:
        raise ConfigurationError(
            f"secret store-{role}: MinIO wants 3 characters or more in {KEY_FILE}, 8 in {SECRET_FILE}"
        )
    return user, secret


if __name__ == "__main__":
    set_up(sys.argv[1], Path(sys.argv[2]))
