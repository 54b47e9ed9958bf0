"""Dumps of Triton's statistics: the answer of GET /v2/models/stats, whose counters grow from the
moment when a model was loaded. `statistics.jsonl` has one a line, each with its time.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from bench.record.files import decoded, read_lines, read_whole, write_atomically
from pipelines.errors import ResultsError
from pipelines.spans import Count, Nanoseconds

SNAPSHOTS = "statistics.jsonl"

Text = Annotated[str, msgspec.Meta(max_length=1 << 16)]


class Counter(msgspec.Struct, frozen=True):
    """How often something happened, and how long that took in all."""

    count: Count = 0
    ns: Count = 0


NOTHING = Counter()


class Durations(msgspec.Struct, frozen=True):
    """The counters of a model's requests, or of its requests of one batch size."""

    success: Counter = NOTHING
    fail: Counter = NOTHING
    queue: Counter = NOTHING
    compute_input: Counter = NOTHING
    compute_infer: Counter = NOTHING
    compute_output: Counter = NOTHING
    cache_hit: Counter = NOTHING


class Batch(msgspec.Struct, frozen=True):
    """The executions of one batch size; of each counter it is they that are counted."""

    batch_size: Count
    compute_infer: Counter = NOTHING


class Model(msgspec.Struct, frozen=True):
    """The counters of one version of a model. `inference_count` counts the items of batches."""

    name: Text
    version: Text = ""
    inference_count: Count = 0
    execution_count: Count = 0
    inference_stats: Durations = Durations()
    batch_stats: list[Batch] = []


class _Dump(msgspec.Struct):
    model_stats: list[Model]


_dump = msgspec.json.Decoder(_Dump, strict=False).decode


def read(path: Path) -> list[Model]:
    """Return what a dump says. Numbers may be text, as some programs write 64 bits.

    Raises ResultsError when it is damaged.
    """
    try:
        return decoded(read_whole(path), _dump, named=str(path)).model_stats
    except ResultsError as error:
        hint = "take the dump again: GET /v2/models/stats, the whole answer"
        raise ResultsError(str(error), hint=hint) from error


class Snapshot(msgspec.Struct, frozen=True):
    """A dump that was answered at `time_ns`."""

    time_ns: Nanoseconds
    model_stats: list[Model]


def snapshot(answer: bytes, *, time_ns: int) -> Snapshot:
    """Return what a server answered. Raises ResultsError when it cannot be read."""
    return Snapshot(time_ns, decoded(answer, _dump, named="the server's statistics").model_stats)


def write_snapshots(folder: Path, taken: Iterable[Snapshot]) -> None:
    """Write a run's snapshots, in the order of their times."""
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in taken)
    write_atomically(folder / SNAPSHOTS, lines)


def read_snapshots(folder: Path) -> list[Snapshot]:
    """Return a run's snapshots, none of a run without. Raises ResultsError of a damaged line."""
    return read_lines(folder / SNAPSHOTS, Snapshot)
