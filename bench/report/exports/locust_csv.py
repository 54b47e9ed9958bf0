"""A run in Locust's own CSV files, `_stats`, `_stats_history` and `_failures`.

Its requests are those that were measured; times are from when they were due, of the answered ones,
and not rounded. A percentile that so few requests cannot tell is `N/A`, as Locust has it.
"""

import csv
import io
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.ledger.quantiles import needed
from bench.ledger.units import clean
from bench.record import records
from bench.record.files import write_atomically
from bench.record.manifest import Manifest, read_manifest
from bench.record.scenario import entries
from pipelines.errors import DEAD_MODEL, ResultsError
from pipelines.spans import Request

PARTS = (0.5, 0.66, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 1.0)
NAMES = tuple(f"{round(100 * part, 2):g}%" for part in PARTS)
_TIMES = ("Median", "Average", "Min", "Max")
STATS = (
    *("Type", "Name", "Request Count", "Failure Count"),
    *(f"{name} Response Time" for name in _TIMES),
    *("Average Content Size", "Requests/s", "Failures/s", *NAMES),
)
HISTORY = (
    *("Timestamp", "User Count", "Type", "Name", "Requests/s", "Failures/s", *NAMES),
    *("Total Request Count", "Total Failure Count"),
    *(f"Total {name} Response Time" for name in _TIMES),
    "Total Average Content Size",
)
FAILURES = ("Method", "Name", "Error", "Occurrences", "First Seen", "Last Seen")
"""The heads of the three files, as Locust 2.47 has them."""

MOST_S = 30 * 24 * 3600
"""Of the history, which has a row a second."""

NONE, ALL = "N/A", "Aggregated"
S = 1_000_000_000

Floats = npt.NDArray[np.float64]
Place = tuple[str, str]
"""What Locust calls the type and the name of requests."""


@dataclass
class _Requests:
    """Those of one place: the ends, latencies in ms and bytes of the answered, the failures' ends
    by their error.
    """

    ends: "array[int]" = field(default_factory=lambda: array("q"))
    times_ms: "array[float]" = field(default_factory=lambda: array("d"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    failed: dict[str, "array[int]"] = field(default_factory=dict)

    def add(self, one: Request) -> None:
        if one.error is not None:
            self.failed.setdefault(one.error, array("q")).append(one.end_ns)
            return
        self.ends.append(one.end_ns)
        self.times_ms.append((one.end_ns - one.due_ns) / 1e6)
        self.sizes.append(one.bytes_out)

    def extend(self, other: "_Requests") -> None:
        self.ends += other.ends
        self.times_ms += other.times_ms
        self.sizes += other.sizes
        for error, ends in other.failed.items():
            self.failed.setdefault(error, array("q")).extend(ends)

    @property
    def failures(self) -> npt.NDArray[np.int64]:
        ends = [np.frombuffer(one, np.int64) for one in self.failed.values()]
        return np.concatenate([np.zeros(0, np.int64), *ends])


def write(folder: Path, prefix: Path) -> list[Path]:
    """Write the run's files, whose names begin with the prefix, and return them.

    Raises ResultsError of a run without measured requests or a wall clock, and when the disk is
    full.
    """
    manifest = read_manifest(folder)
    unix_ns = manifest.unix_from_ns()
    places = _places(folder, manifest)
    if not places:
        raise ResultsError(f"{folder} has no measured request", hint="bench report says why")
    total = _Requests()
    for one in places.values():
        total.extend(one)
    last = int(max([*total.ends, *total.failures]))
    window = (manifest.window_start_ns, manifest.window_end_ns or last + 1)
    if (last - window[0]) // S > MOST_S:
        raise ResultsError(
            f"{folder} has requests of more than {MOST_S:,} s", hint="is it damaged?"
        )
    paused_ns = records.read_paused_ns(folder, window_ns=window)
    running_s = max(window[1] - window[0] - paused_ns, 1) / S
    tables = {
        "stats": (STATS, _stats({**places, ("", ALL): total}, running_s)),
        "stats_history": (HISTORY, _history(total, window, unix_ns, users=_users(manifest))),
        "failures": (FAILURES, _failures(places, unix_ns)),
    }
    written = []
    for name, (heads, rows) in tables.items():
        path = prefix.with_name(f"{prefix.name}_{name}.csv")
        write_atomically(path, _csv(heads, rows))
        written.append(path)
    return written


def _csv(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO()
    out = csv.writer(buffer, lineterminator="\n")
    out.writerow(heads)
    out.writerows([clean(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return buffer.getvalue().encode()


def _places(folder: Path, manifest: Manifest) -> dict[Place, _Requests]:
    """The requests that the report counts, by where Locust has those of their pipeline."""
    known = {
        pipeline: (where["request_type"], where["name"])
        for pipeline, where in entries(manifest.settings).items()
    }
    found: dict[Place, _Requests] = {}
    for one in records.read_requests(folder, schema=manifest.schema):
        if manifest.measures(one.due_ns) or (one.error and DEAD_MODEL in one.error):
            place = known.get(one.pipeline, (manifest.settings.transport, one.pipeline))
            found.setdefault(place, _Requests()).add(one)
    return dict(sorted(found.items(), key=lambda one: one[0][::-1]))


def _users(manifest: Manifest) -> int | str:
    """How many there were, empty where a shape of the load said so from moment to moment."""
    return "" if manifest.shape else manifest.settings.users


def _stats(places: dict[Place, _Requests], running_s: float) -> Iterator[list[Any]]:
    for place, one in places.items():
        failed = len(one.failures)
        median, *times, size = _spread(one.times_ms, one.sizes)
        count = len(one.ends) + failed
        rates = [count / running_s, failed / running_s]
        yield [*place, count, failed, median, *times, size, *rates, *_percentiles(one.times_ms)]


def _spread(times_ms: Sequence[float] | Floats, sizes: Sequence[int]) -> list[Any]:
    """Median, mean, least and most of the latencies, and the mean size; Locust has 0 for none."""
    if not len(times_ms):
        return [0] * 5
    values = np.asarray(times_ms)
    return [
        _percentiles(values)[0],
        *(float(one) for one in (values.mean(), values.min(), values.max(), np.mean(sizes))),
    ]


def _percentiles(times_ms: Sequence[float] | Floats) -> list[Any]:
    values = np.asarray(times_ms)
    if not len(values):
        return [NONE] * len(PARTS)
    told = np.quantile(values, PARTS).tolist()
    enough = [part == 1 or len(values) >= needed(part) for part in PARTS]
    return [one if can else NONE for one, can in zip(told, enough, strict=True)]


def _history(
    total: _Requests, window: tuple[int, int], unix_ns: int, *, users: int | str
) -> Iterator[list[Any]]:
    """A row a second: what ended in it, and all that had ended by then."""
    order = np.argsort(total.ends, kind="stable")
    ends, times_ms = np.asarray(total.ends)[order], np.asarray(total.times_ms)[order]
    sizes, failed = np.asarray(total.sizes)[order], np.sort(total.failures)
    last = max([*ends[-1:], *failed[-1:]])
    before = (0, 0)
    for until in range(window[0] + S, int(last) + 1 + S, S):
        good, bad = (int(np.searchsorted(of, until)) for of in (ends, failed))
        now = (good + bad, bad)
        rates = [one - other for one, other in zip(now, before, strict=True)]
        yield [
            *((until + unix_ns) // S, users, "", ALL, *rates, *_percentiles(times_ms[:good])),
            *(*now, *_spread(times_ms[:good], sizes[:good].tolist())),
        ]
        before = now


def _failures(places: dict[Place, _Requests], unix_ns: int) -> Iterator[list[Any]]:
    for place, one in places.items():
        for error, ends in sorted(one.failed.items()):
            seen = [_utc(at + unix_ns) for at in (min(ends), max(ends))]
            yield [*place, error, len(ends), *seen]


def _utc(unix_ns: int) -> str:
    return datetime.fromtimestamp(unix_ns // S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
