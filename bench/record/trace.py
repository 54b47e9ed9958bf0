"""Triton's trace: turned on and off over HTTP, read as Triton writes it, kept as one table.

`trace.csv` has one row per model execution: `request`, `model`, `id`, `parent`, and a column of
nanoseconds per event, 0 where there was none. It loses nothing that `trace.json.*` said.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import msgspec

from bench.record.files import decoded, opened, read_whole, write_atomically
from bench.record.records import TRACE
from pipelines.errors import ResultsError
from pipelines.spans import Count, Nanoseconds

if TYPE_CHECKING:
    import pandas as pd


KEYS = ("request", "model", "id", "parent")
EVENTS = (
    "HTTP_RECV_START",
    "HTTP_RECV_END",
    "GRPC_WAITREAD_START",
    "GRPC_WAITREAD_END",
    "REQUEST_START",
    "QUEUE_START",
    "COMPUTE_START",
    "COMPUTE_INPUT_END",
    "COMPUTE_OUTPUT_START",
    "COMPUTE_END",
    "INFER_RESPONSE_COMPLETE",
    "REQUEST_END",
    "HTTP_SEND_START",
    "HTTP_SEND_END",
    "GRPC_SEND_START",
    "GRPC_SEND_END",
)

COLUMNS = (*KEYS, *EVENTS)

Ending = Literal["whole", "open", "cut"]


class _Stamp(msgspec.Struct):
    name: str
    ns: Nanoseconds


class _Item(msgspec.Struct):
    id: Count
    model_name: str | None = None
    request_id: str = ""
    parent_id: Count = 0
    timestamps: list[_Stamp] = []


def collect(trace_file: Path, folder: Path, *, first: int, last: bool = False) -> int:
    """Move the files that Triton has finished into `folder`; return the next file's number.

    Triton counts its files up for as long as it runs, so the run's own are told apart by `first`.
    With `last` those come too that were cut off.
    """
    for number, path in numbered(trace_file):
        if number >= first:
            if not last and not _ends(read_whole(path).rstrip()):
                break
            shutil.move(path, folder / f"trace.json.{number}")
            first = number + 1
    return first


def _ends(data: bytes) -> bool:
    """Whether it is the whole array: what was cut off may end in a bracket too, an inner one."""
    if not data.endswith(b"]"):
        return False
    try:
        msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return "truncated" not in str(error)
    return True


def next_number(trace_file: Path) -> int:
    """Remove what earlier, killed runs left and return the number the next file gets at least."""
    left = numbered(trace_file)
    for _, path in left:
        with contextlib.suppress(OSError):
            path.unlink()
    return left[-1][0] + 1 if left else 0


def fold(folder: Path) -> None:
    """Replace the run's `trace.json.*` by one `trace.csv`. Nothing happens when there are none."""
    raw = _raw_files(folder)
    if not raw:
        return
    write(folder, _rows(raw))
    for path in raw:
        path.unlink()


def write(folder: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write the run's `trace.csv`: rows of KEYS and EVENTS."""
    write_atomically(folder / TRACE, _csv(rows))


def _csv(rows: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return buffer.getvalue().encode()


def opener(folder: Path, places: Counter[Path] | None = None) -> Callable[[], BinaryIO]:
    """Return what opens the run's `trace.csv`, or what it would be by now; it has no rows when
    there is no trace. Of one that still grows the files in `places` are left out, and those read
    are added.
    """
    if (folder / TRACE).exists():
        return functools.partial(opened, folder / TRACE)
    fresh = [raw for raw in _raw_files(folder) if not places or raw not in places]
    if places is not None:
        places.update(fresh)
    return functools.partial(io.BytesIO, _csv(_rows(fresh)))


def read(folder: Path) -> pd.DataFrame:
    """Return the run's trace; no rows when there is none. Events are int64 ns, 0 where absent."""
    with opener(folder)() as file, told_damaged(folder / TRACE, file):
        return parsed(file)


def parsed(file: BinaryIO, *, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Return these columns of an opened `trace.csv`. Raises ValueError when it is damaged."""
    import numpy as np
    import pandas as pd  # here, because the monitor must start fast and needs only to write

    types = dict.fromkeys(columns, "int64") | {"request": "object", "model": "category"}
    strict = warnings.catch_warnings(action="error", category=pd.errors.ParserWarning)
    try:
        with np.errstate(invalid="raise"), strict:
            frame = pd.read_csv(
                file, usecols=list(columns), dtype=types, na_filter=False, index_col=False
            )
        if (frame[[name for name in columns if types[name] == "int64"]].to_numpy() < 0).any():
            raise ValueError("a time is below 0")
        return frame
    except (ArithmeticError, KeyError, pd.errors.ParserWarning) as error:
        raise ValueError(error) from error


@contextlib.contextmanager
def told_damaged(path: Path, file: BinaryIO) -> Iterator[None]:
    """Raise ResultsError where there is a ValueError, naming the line of the file at fault."""
    try:
        yield
    except ValueError as error:
        check(path, file)
        raise ResultsError(f"{path} is damaged: {error}") from error


def check(path: Path, file: BinaryIO) -> None:
    """Read a `trace.csv` line by line. Raises ResultsError naming one that is damaged."""
    file.seek(0)
    text = io.TextIOWrapper(file, "utf-8", newline="")
    rows = csv.reader(text)
    try:
        head = next(rows, [])
        for row in rows:
            if len(row) != len(head):
                raise ValueError(f"it has {len(row)} columns, not {len(head)}")
            if not all(0 <= int(ns) < 1 << 63 for ns in row[2:]):
                raise ValueError("a number is out of bounds")
    except (ValueError, csv.Error) as error:
        raise ResultsError(f"{path}, line {rows.line_num} is damaged: {error}") from error
    finally:
        text.detach()


def read_file(path: Path) -> tuple[list[list[Any]], Ending]:
    """Return the table's rows of one file of Triton's, and how it ends.

    An `open` one lacks its closing bracket, as while Triton runs. Raises ResultsError when the file
    is damaged before its end.
    """
    data = read_whole(path).rstrip()
    if _ends(data):
        return _table(_decode(data, named=str(path))), "whole"
    try:
        return _table(msgspec.json.decode(data + b"]", type=list[_Item])), "open"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _rows([path]), "cut"


def numbered(trace_file: Path) -> list[tuple[int, Path]]:
    """Return the numbered files that Triton has written, in their order."""
    found = trace_file.parent.glob(trace_file.name + ".*")
    return sorted((int(path.suffix[1:]), path) for path in found if path.suffix[1:].isdigit())


def _raw_files(folder: Path) -> list[Path]:
    return [path for _, path in numbered(folder / "trace.json")]


def _rows(paths: Iterable[Path]) -> list[list[Any]]:
    """Return the table's rows. A file that was cut off gives what it has up to there."""
    return _table(item for path in paths for item in _decode(_mended(path), named=str(path)))


def _decode(data: bytes, *, named: str) -> list[_Item]:
    return decoded(data, msgspec.json.Decoder(list[_Item]).decode, named=named)


def _table(items: Iterable[_Item]) -> list[list[Any]]:
    heads: dict[int, _Item] = {}
    events: dict[int, dict[str, int]] = {}
    for item in items:
        if item.model_name is not None:
            heads[item.id] = item
        stamps = events.setdefault(item.id, {})
        stamps.update((stamp.name, stamp.ns) for stamp in item.timestamps)
    return [
        [head.request_id, head.model_name, id, head.parent_id]
        + [events[id].get(name, 0) for name in EVENTS]
        for id, head in heads.items()
    ]


def _mended(path: Path) -> bytes:
    """The file's JSON array, closed after its last whole item where the file was cut off."""
    data = read_whole(path).rstrip()
    if _ends(data):
        return data
    cut = max(data.rfind(b"},{"), 0)
    return data[: cut + 1] + b"]" if cut else b"[]"
