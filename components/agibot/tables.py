"""Tables of a dataset: Parquet files in LeRobot's `chunk-000/file-000` scheme, one row group per added piece."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

FILES_PER_CHUNK = 1000
FILE_BYTES = 100 << 20
"""A new file is begun beyond this; LeRobot's default."""


@dataclass(frozen=True)
class TablePlace:
    """Where a piece of a table lies."""

    chunk: int
    file: int
    row_group: int


class TableFiles:
    """Writes pieces of one table into as few files as their size allows, from number `first`. A context manager."""

    def __init__(self, root: Path, file_bytes: int = FILE_BYTES, first: int = 0) -> None:
        self._root, self._file_bytes = root, file_bytes
        self._number, self._groups = first - 1, 0
        self._sink: BinaryIO | None = None
        self._writer: Any = None

    def next_file(self) -> tuple[int, int]:
        """Chunk and number of the file that the next piece goes to."""
        number = self._number + (self._sink is None or self._full())
        return number // FILES_PER_CHUNK, number % FILES_PER_CHUNK

    def add(self, table: pa.Table) -> TablePlace:
        """Append `table` as one row group. All of them must have the same columns."""
        chunk, file = self.next_file()
        if self._sink is None or self._full():
            self.close()
            self._number, self._groups = self._number + 1, 0
            path = self._root / f"chunk-{chunk:03d}" / f"file-{file:03d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = open(path, "wb")  # noqa: SIM115 - closed with this writer
            self._writer = pq.ParquetWriter(self._sink, table.schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._groups += 1
        return TablePlace(chunk, file, self._groups - 1)

    def _full(self) -> bool:
        return self._sink is not None and self._sink.tell() >= self._file_bytes

    def close(self) -> None:
        if self._sink is not None:
            self._writer.close()
            self._sink.close()
            self._sink = self._writer = None

    def __enter__(self) -> TableFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def table_of(columns: dict[str, NDArray[Any]]) -> pa.Table:
    """Arrow's view of columns: (N,) become scalars, (N, D) lists of fixed size D."""
    return pa.table({name: _column(values) for name, values in columns.items()})


def _column(values: NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).ravel()), values.shape[1])
