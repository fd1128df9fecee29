"""The container image of each component: every name stands in one file, `images/images.json`.

A stage says `@dsl.component(base_image=image("trainer"))`, so an image is renamed, moved to another registry
(`ORRERY_IMAGE_PREFIX`) or pinned to a digest in one place.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path

from components.store.errors import ConfigurationError

IMAGES_FILE = Path(__file__).resolve().parent.parent / "images" / "images.json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@functools.cache
def _images() -> dict[str, dict[str, str | None]]:
    """`{image: {"name": repository, "tag": tag, "digest": "sha256:..." or null}}`."""
    try:
        images = json.loads(IMAGES_FILE.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{IMAGES_FILE}: the list of images can't be read: {error}") from error
    for name, entry in images.items():
        if not isinstance(entry, dict) or not entry.get("name") or not entry.get("tag"):
            raise ConfigurationError(f'{IMAGES_FILE}: image {name!r} needs a "name" and a "tag"')
        if entry.get("digest") is not None and not _DIGEST.fullmatch(str(entry["digest"])):
            raise ConfigurationError(f"{IMAGES_FILE}: the digest of image {name!r} is not sha256:<64 hex digits>")
    return images


def names() -> tuple[str, ...]:
    """Every image this repository builds: `data`, `trainer`, `serving`."""
    return tuple(_images())


def image(name: str) -> str:
    """The full reference of an image: `repository:tag`, or `repository:tag@digest` once a digest is pinned.

    `ORRERY_IMAGE_PREFIX`, when set, is the registry and project that stands in front of the repository.

    Raises ConfigurationError for a name that `images/images.json` does not list.
    """
    images = _images()
    if name not in images:
        raise ConfigurationError(f"no image {name!r} in {IMAGES_FILE.name}; there are {', '.join(images)}")
    entry = images[name]
    prefix = os.environ.get("ORRERY_IMAGE_PREFIX", "").strip("/")
    reference = f"{prefix}/{entry['name']}:{entry['tag']}" if prefix else f"{entry['name']}:{entry['tag']}"
    return f"{reference}@{entry['digest']}" if entry.get("digest") else reference
