"""Depth images of the head camera: one 16-bit grey PNG per frame, `head_depth_{frame:06d}.png`."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np

from components.agibot.blob import Blob
from components.agibot.checks.evidence import Evidence
from data_contracts.catalogue import finding, thresholds
from data_contracts.reasons import Finding

_NAME = re.compile(r"^head_depth_([0-9]{1,9})\.png$")
SAMPLES = 8
"""Images that are decoded, evenly spread."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_depth(evidence: Evidence) -> Iterator[Finding]:
    """An episode without any depth image has no depth, which is fine."""
    images, count = evidence.depth, evidence.frames
    if not images:
        return
    numbers = sorted(int(m[1]) for m in map(_NAME.match, images) if m)
    if count and numbers != list(range(count)):
        missing = sorted(set(range(count)) - set(numbers))
        gap = f", frame {missing[0]} is missing" if missing else ""
        message = f"{len(numbers)} depth images for {count} frames{gap}"
        yield finding("depth.frame-count", message, f"depth, frame {missing[0]}" if missing else "depth")
    names = sorted(images)
    for name in _spread(names) if evidence.sampled else names:
        problem = _problem(images[name])
        if problem:
            yield finding("depth.format", f"{name} {problem}", f"depth/{name}")
            return
    yield from _check_holes(images, evidence.allowed.depth_holes)


def _check_holes(images: dict[str, Blob], most: float) -> Iterator[Finding]:
    """How much of the images holds no depth, judged by a few of them: decoding all would cost more than the videos."""
    from PIL import Image

    chosen, empty = _spread(sorted(images)), []
    for name in chosen:
        with images[name].open() as stream:
            try:
                with Image.open(stream, formats=("PNG",)) as image:
                    empty.append(float((np.asarray(image) == 0).mean()))
            except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
                yield finding("depth.format", f"{name} can't be decoded: {str(error)[:200]}", f"depth/{name}")
                return
    share = float(np.mean(empty))
    if share > most:
        message = f"{share:.0%} of the pixels of {len(chosen)} depth images hold no depth; up to {most:.0%} is usual"
        yield finding("depth.holes", message, f"depth/{chosen[int(np.argmax(empty))]}")


def _spread(names: list[str]) -> list[str]:
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, SAMPLES).round().astype(int))]


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
    if not 0 < width * height <= thresholds().max_pixels:
        return f"claims {width}x{height} pixels"
    return "" if end[4:8] == b"IEND" else "is cut off"
