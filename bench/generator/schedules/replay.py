"""Arrivals that were recorded: a CSV or Parquet file with a column `time_s`, and `image` where that
is known.
"""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.generator.schedules.arrivals import Floats
from pipelines.errors import VisiontaxError

TIME, IMAGE = "time_s", "image"
MOST_BYTES = 1 << 30
MOST_ROWS = 100_000_000
PARQUET = b"PAR1"
"""How such a file begins."""


class Recorded(NamedTuple):
    """The moments, in seconds from the first, and the name of each one's image, empty without."""

    times_s: Floats
    images: list[str]


class Row(NamedTuple):
    """A row as it was found, in the line or the row of that number."""

    number: int
    time: Any
    image: Any


def read(path: Path) -> Recorded:
    """Return what a file holds, in the order of its times.

    Raises VisiontaxError naming the line that is wrong, of Parquet the row.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise VisiontaxError(f"{path} is larger than {MOST_BYTES >> 30} GiB")
        with path.open("rb") as file:
            is_parquet = file.read(len(PARQUET)) == PARQUET
        if is_parquet:
            return _read(path, _parquet_rows(path), place="row")
        return _read(path, _csv_rows(path), place="line")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VisiontaxError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        if TIME not in (rows.fieldnames or ()):
            raise VisiontaxError(
                f"{path}, line 1 has no column {TIME}",
                hint=f"its first line names the columns: {TIME}, and {IMAGE} where it is known",
            )
        for row in rows:
            yield Row(rows.line_num, row[TIME], row.get(IMAGE))


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet  # an extra: 55 MB that few need
    except ImportError as error:
        raise VisiontaxError(
            f"{path} is Parquet, which needs the package pyarrow",
            hint="pip install 'visiontax[parquet]', or write the arrivals as CSV",
        ) from error
    try:
        file = parquet.ParquetFile(path)
        columns = [name for name in (TIME, IMAGE) if name in file.schema_arrow.names]
        if TIME not in columns:
            raise VisiontaxError(
                f"{path} has no column {TIME}",
                hint=f"its columns are {TIME}, and {IMAGE} where it is known",
            )
        if file.metadata.num_rows > MOST_ROWS:
            raise VisiontaxError(f"{path} has more than {MOST_ROWS:,} rows")
        number = 0
        for batch in file.iter_batches(columns=columns, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield Row(number, row[TIME], row.get(IMAGE))
    except ArrowException as error:
        raise VisiontaxError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _read(path: Path, rows: Iterator[Row], *, place: str) -> Recorded:
    found = []
    for number, time, image in rows:
        try:
            moment = float(time)
        except (TypeError, ValueError):
            moment = math.nan
        if not math.isfinite(moment):
            raise VisiontaxError(
                f"{path}, {place} {number}: {TIME} is no number of seconds: {time!r:.60}"
            )
        found.append((moment, str(image or "")))
    if not found:
        raise VisiontaxError(f"{path} has no arrivals")
    found.sort(key=lambda one: one[0])
    times = np.array([moment for moment, _ in found])
    return Recorded(times - times[0], [image for _, image in found])
