"""Triton's trace: turned on and off over HTTP, read as Triton writes it, kept as one table.

`trace.csv` has one row per model execution: `request`, `model`, `id`, `parent`, and a column of
nanoseconds per event, 0 where there was none. It loses nothing that `trace.json.*` said.
"""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    for number, path in _numbered(trace_file):
        if number >= first:
            if not last and not _is_whole(path):
                break
            shutil.move(path, folder / f"trace.json.{number}")
            first = number + 1
    return first


def _is_whole(path: Path) -> bool:
    """Whether Triton has written the file to its end."""
    return read_whole(path).rstrip().endswith(b"]")


def next_number(trace_file: Path) -> int:
    """Remove what earlier, killed runs left and return the number the next file gets at least."""
    left = _numbered(trace_file)
    for _, path in left:
        with contextlib.suppress(OSError):
            path.unlink()
    return left[-1][0] + 1 if left else 0


def fold(folder: Path) -> None:
    """Replace the run's `trace.json.*` by one `trace.csv`. Nothing happens when there are none."""
    raw = _raw_files(folder)
    if not raw:
        return
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*KEYS, *EVENTS])
    writer.writerows(_rows(raw))
    write_atomically(folder / TRACE, buffer.getvalue().encode())
    for path in raw:
        path.unlink()


def read(folder: Path, places: Counter[Path] | None = None) -> pd.DataFrame:
    """Return the run's trace; no rows when there is none. Events are Int64 ns, 0 where absent.

    Of a trace that still grows the files in `places` are left out, and those read are added.
    """
    import numpy as np
    import pandas as pd  # here, because the monitor must start fast and needs only to write

    types = dict.fromkeys(EVENTS, "int64") | {"id": "int64", "parent": "int64"}
    types |= {"request": "str", "model": "category"}
    path = folder / TRACE
    if not path.exists():
        fresh = [raw for raw in _raw_files(folder) if not places or raw not in places]
        if places is not None:
            places.update(fresh)
        frame = pd.DataFrame(_rows(fresh), columns=[*KEYS, *EVENTS])
        return frame.replace("", 0).astype(types)
    try:
        with opened(path) as file, np.errstate(invalid="raise"):
            frame = pd.read_csv(file, dtype=types, na_filter=False, engine="c", index_col=False)
        numbers = frame[["id", "parent", *EVENTS]].to_numpy()
        if "request" not in frame or "model" not in frame or (numbers < 0).any():
            raise ValueError("columns are missing, or a time is below 0")
        return frame
    except (ArithmeticError, ValueError, KeyError, pd.errors.ParserError) as error:
        raise ResultsError(f"{path} is damaged: {error}") from error


def _numbered(trace_file: Path) -> list[tuple[int, Path]]:
    """The numbered files that Triton has written, in their order."""
    found = trace_file.parent.glob(trace_file.name + ".*")
    return sorted((int(path.suffix[1:]), path) for path in found if path.suffix[1:].isdigit())


def _raw_files(folder: Path) -> list[Path]:
    return [path for _, path in _numbered(folder / "trace.json")]


def _rows(paths: Iterable[Path]) -> list[list[Any]]:
    """Return the table's rows. A file that was cut off gives what it has up to there."""
    decoder = msgspec.json.Decoder(list[_Item])
    heads: dict[int, _Item] = {}
    events: dict[int, dict[str, int]] = {}
    for path in paths:
        for item in decoded(_mended(path), decoder.decode, named=str(path)):
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
    if data.endswith(b"]"):
        return data
    cut = max(data.rfind(b"},{"), 0)
    return data[: cut + 1] + b"]" if cut else b"[]"
