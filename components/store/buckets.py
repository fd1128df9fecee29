"""Buckets, which a team makes once: kept apart from the objects in them, which `components.store.s3` writes."""

from __future__ import annotations

from urllib.parse import urlsplit

from components.store.errors import StoreError
from components.store.s3 import connection, parse_url


def ensure_bucket(url: str) -> bool:
    """Create the bucket of `s3://bucket/prefix` if it is not there; True if it was created. Raises StoreError."""
    from minio import Minio
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    bucket, _ = parse_url(url)
    endpoint, access_key, secret_key = connection(url)
    address = urlsplit(endpoint)
    client = Minio(address.netloc, access_key, secret_key, secure=address.scheme == "https")
    try:
        if client.bucket_exists(bucket):
            return False
        client.make_bucket(bucket)
    except (MinioException, HTTPError) as error:
        reason = getattr(error, "code", None) or type(error).__name__
        raise StoreError(
            f"creating bucket {bucket!r} at {endpoint} failed ({reason}); check address and credentials"
        ) from None
    return True
