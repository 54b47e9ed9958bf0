"""Tables of whole numbers that may be larger than the memory."""

from __future__ import annotations

import copy
import os
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import ResultsError

IN_MEMORY_BYTES = 256 << 20
"""What is more of a table lies in a temporary file."""

Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[Any]
"""The numbers of rows, or for each whether it is meant."""


class _File(tempfile.SpooledTemporaryFile[bytes]):
    def __del__(self) -> None:
        self.close()


class Stored:
    """A table to which rows are added, [rows, columns]. As of an array, `[:, column]` is a column,
    the only one that is then in memory, `[rows]` a table of these rows, and `[:, column:]` one of
    the columns from there on.

    Of rows that are added together, columns of nothing but 0 take no room, nor those that are as
    another one.
    """

    def __init__(self) -> None:
        self._file = _File(IN_MEMORY_BYTES)
        self._pieces: list[tuple[int, dict[int, int]]] = []
        self._rows: Ints | None = None
        self._first = 0

    def add(self, rows: Ints) -> None:
        """Add them. Raises ResultsError when the disk is full."""
        places: dict[int, int] = {}
        written: dict[bytes, int] = {}
        try:
            at = self._file.seek(0, os.SEEK_END)
            for column in np.flatnonzero(rows.any(axis=0)).tolist():
                data = rows[:, column].tobytes()
                if data not in written:
                    written[data] = at
                    at += self._file.write(data)
                places[column] = written[data]
        except OSError as error:
            raise ResultsError(
                f"cannot write a temporary file: {error.strerror or error}",
                hint="set TMPDIR to a folder with more room",
            ) from error
        self._pieces.append((len(rows), places))

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) else (key, slice(0, None))
        if isinstance(columns, int):
            return self._column(self._first + columns)
        chosen = copy.copy(self)
        chosen._first += columns.start
        if not isinstance(rows, slice):
            chosen._rows = (np.arange(len(self)) if self._rows is None else self._rows)[rows]
        return chosen

    def __len__(self) -> int:
        return len(self._rows) if self._rows is not None else sum(many for many, _ in self._pieces)

    def _column(self, column: int) -> Ints:
        found = np.zeros(sum(many for many, _ in self._pieces), np.int64)
        first = 0
        for many, places in self._pieces:
            if column in places:
                self._file.seek(places[column])
                found[first : first + many] = np.frombuffer(self._file.read(8 * many), np.int64)
            first += many
        return found if self._rows is None else found[self._rows]
