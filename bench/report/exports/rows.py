"""Runs as CSV and Parquet: a row a request, with the time of each stage on its critical path. These
and `other` add up to its latency, to the nanosecond.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from bench.ledger.attribution.bit_by_bit import Requests
from bench.ledger.attribution.table import COLUMNS, Ledger
from bench.ledger.units import clean
from pipelines.errors import VisiontaxError
from pipelines.spans import Request

STAGES_MS = [f"{name}_ms" for name in COLUMNS]
TYPES = {
    **dict.fromkeys(("run", "id", "pipeline", "image"), "string"),
    **dict.fromkeys(("measured", "traced"), "bool"),
    **dict.fromkeys(("due_ns", "start_ns", "end_ns"), "int64"),
    "latency_ms": "double",
    "error": "string",
    **dict.fromkeys(("bytes_in", "bytes_out"), "int64"),
    **dict.fromkeys(STAGES_MS, "double"),
}
"""The columns, by Arrow's names of their types."""


def write_csv(runs: Sequence[Path], file: BinaryIO) -> None:
    """Write the requests of the runs. Raises ResultsError of a run that has none."""
    for number, frame in enumerate(_frames(runs)):
        frame.to_csv(file, header=number == 0, index=False, lineterminator="\n")


def write_parquet(runs: Sequence[Path], file: BinaryIO) -> None:
    """Write the requests of the runs. Raises as `write_csv`, and without the package for it."""
    try:
        import pyarrow as arrow  # an extra: 55 MB that few need
        from pyarrow import parquet
    except ImportError as error:
        raise VisiontaxError(
            "Parquet needs the package pyarrow",
            hint="pip install 'visiontax[parquet]', or export csv",
        ) from error
    kinds = {"string": arrow.string(), "bool": arrow.bool_(), "int64": arrow.int64()}
    schema = arrow.schema(
        [(name, kinds.get(kind, arrow.float64())) for name, kind in TYPES.items()]
    )
    with parquet.ParquetWriter(file, schema) as writer:
        for frame in _frames(runs):
            writer.write_table(arrow.Table.from_pandas(frame, schema, preserve_index=False))


def _frames(runs: Sequence[Path]) -> Iterator[pd.DataFrame]:
    for folder in runs:
        run = Requests(folder)
        for requests, ledger in run.counted():
            yield _frame(run, requests, ledger)


def _frame(run: Requests, requests: Sequence[Request], ledger: Ledger) -> pd.DataFrame:
    answered = np.array([one.error is None for one in requests])
    traced = np.zeros(len(requests), bool)
    traced[answered] = ledger.joined
    times_ms = np.full((len(requests), len(COLUMNS)), np.nan)
    times_ms[answered] = ledger.time_ns / 1e6
    told: dict[str, Any] = {
        "run": [clean(run.manifest.run)] * len(requests),
        "id": [clean(one.id) for one in requests],
        "pipeline": [clean(one.pipeline) for one in requests],
        "image": [image_of(run, one) for one in requests],
        "measured": [run.manifest.measures(one.due_ns) for one in requests],
        "traced": traced,
        "due_ns": [one.due_ns for one in requests],
        "start_ns": [one.start_ns for one in requests],
        "end_ns": [one.end_ns for one in requests],
        "latency_ms": [(one.end_ns - one.due_ns) / 1e6 for one in requests],
        "error": [None if one.error is None else clean(one.error) for one in requests],
        "bytes_in": [one.bytes_in for one in requests],
        "bytes_out": [one.bytes_out for one in requests],
    }
    told |= dict(zip(STAGES_MS, times_ms.T, strict=True))
    return pd.DataFrame({name: told[name] for name in TYPES})


def image_of(run: Requests, request: Request) -> str | None:
    """Return the name of the request's image; its number in a run that has no names of them."""
    if request.image is None or request.image < len(run.images):
        return None if request.image is None else clean(run.images[request.image].name)
    return str(request.image)
