"""Buckets, which a team makes once: kept apart from the objects in them, which `components.store.s3` writes."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from components.store.errors import StoreError
from components.store.s3 import connection, parse_url

KEPT_DAYS = {"": 30, "claims/": 1, "runs/": 1}
"""Days that a replaced or deleted object can be brought back, by prefix: claims and status change all the time."""

CHECKPOINT_DAYS = 30
"""Days after which a training that was never started again has lost its checkpoints."""


def ensure_bucket(url: str) -> bool:
    """Create the bucket of `s3://bucket/prefix` if it is not there, with versions and a life-cycle.

    True if it was created; one that was there is left as its owner set it up. Raises StoreError.
    """
    from minio import Minio
    from minio.commonconfig import ENABLED
    from minio.error import MinioException
    from minio.versioningconfig import VersioningConfig
    from urllib3.exceptions import HTTPError

    bucket, prefix = parse_url(url)
    endpoint, access_key, secret_key = connection(url)
    address = urlsplit(endpoint)
    client = Minio(address.netloc, access_key, secret_key, secure=address.scheme == "https")
    try:
        if client.bucket_exists(bucket):
            return False
        client.make_bucket(bucket)
        client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
        client.set_bucket_lifecycle(bucket, _life_cycle(f"{prefix}/" if prefix else ""))
    except (MinioException, HTTPError) as error:
        reason = getattr(error, "code", None) or type(error).__name__
        raise StoreError(
            f"creating bucket {bucket!r} at {endpoint} failed ({reason}); check address and credentials"
        ) from None
    return True


def _life_cycle(root: str) -> Any:
    from minio.commonconfig import ENABLED, Filter
    from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule

    old = [
        Rule(
            ENABLED,
            rule_id=f"old-versions-{folder.strip('/') or 'all'}",
            rule_filter=Filter(prefix=root + folder),
            noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=days),
        )
        for folder, days in KEPT_DAYS.items()
    ]
    checkpoints = Rule(
        ENABLED,
        rule_id="checkpoints",
        rule_filter=Filter(prefix=f"{root}checkpoints/"),
        expiration=Expiration(days=CHECKPOINT_DAYS),
    )
    return LifecycleConfig([*old, checkpoints])
