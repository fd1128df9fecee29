"""What was written is read back before it is published: row k and frame k of it must be the raw episode's.

Of every file, the first and the last episode in it: an offset that is wrong anywhere before them shows there. Pictures
are compared after the decoder, made small as those that the examination kept; packets are copied, so they are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from components.agibot.checks.video import small
from components.agibot.dataset import array_of
from components.agibot.videos import frame_at
from components.store.errors import OrreryError


def ends(files: Iterable[tuple[int, int]]) -> list[int]:
    """Of pieces in order, each in the (chunk, file) that is given: the numbers of the first and last of every file."""
    first: dict[tuple[int, int], int] = {}
    last: dict[tuple[int, int], int] = {}
    for number, file in enumerate(files):
        first.setdefault(file, number)
        last[file] = number
    return sorted({*first.values(), *last.values()})


def require_rows(path: Path, row_group: int, wanted: Mapping[str, NDArray[Any]], what: str) -> None:
    """Raises OrreryError if a row group of a table does not hold the columns `wanted`, value by value."""
    table = pq.ParquetFile(path).read_row_group(row_group, columns=list(wanted))
    for name, values in wanted.items():
        if not np.array_equal(array_of(table.column(name).combine_chunks()), values):
            raise _differs(f"column {name}", path, what)


def require_pictures(
    path: Path, start: int, fps: int, samples: NDArray[np.uint8], at: Sequence[int], what: str
) -> None:
    """Raises OrreryError if a video does not show the episode that begins at its frame `start`.

    `samples` (S, 120, 160, 3) are frames of the raw video, `at` their numbers; the first and the last are looked at.
    """
    for sample in sorted({0, len(at) - 1}):
        shown = small(frame_at(path, start + int(at[sample]), fps))
        if not np.array_equal(shown, samples[sample]):
            raise _differs(f"frame {int(at[sample])}", path, what)


def _differs(part: str, path: Path, what: str) -> OrreryError:
    return OrreryError(
        f"{part} of {what} is not the raw one in the new {path.name}, so nothing was published; this is a defect of "
        "the intake, or of this machine's memory or disk: start it again, and report it if it comes back"
    )
