"""Depth images of the head camera: one 16-bit grey PNG per frame, `head_depth_{frame:06d}.png`."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from components.agibot.blob import Blob
from data_contracts.catalogue import finding
from data_contracts.reasons import Finding

_NAME = re.compile(r"^head_depth_([0-9]{1,9})\.png$")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_depth(images: dict[str, Blob], count: int) -> Iterator[Finding]:
    """`images` by file name; an episode without any has no depth, which is fine."""
    numbers = sorted(int(m[1]) for m in map(_NAME.match, images) if m)
    if not images:
        return
    if numbers != list(range(count)):
        missing = sorted(set(range(count)) - set(numbers))
        gap = f", frame {missing[0]} is missing" if missing else ""
        message = f"{len(numbers)} depth images for {count} frames{gap}"
        yield finding("depth.frame-count", message, f"depth, frame {missing[0]}" if missing else "depth")
    for name, blob in sorted(images.items()):
        problem = _problem(blob)
        if problem:
            yield finding("depth.format", f"{name} {problem}", f"depth/{name}")
            return


def _problem(blob: Blob) -> str:
    """What is wrong with a PNG, judged from its header and its end."""
    if blob.size < 57:  # signature, IHDR, an empty IDAT and IEND
        return f"has {blob.size} bytes"
    try:
        with blob.open() as stream:
            header = stream.read(33)
            stream.seek(-12, 2)
            end = stream.read(12)
    except OSError as error:
        return f"can't be read: {error}"
    if header[:8] != _SIGNATURE or header[12:16] != b"IHDR":
        return "is no PNG"
    width, height, bits, colour = struct.unpack(">IIBB", header[16:26])
    if (bits, colour) != (16, 0):
        return f"has {bits} bits of colour type {colour}; depth is 16-bit grey"
    if not (0 < width <= 1 << 14 and 0 < height <= 1 << 14):
        return f"claims {width}x{height} pixels"
    return "" if end[4:8] == b"IEND" else "is cut off"
