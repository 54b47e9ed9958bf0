"""Little's law: the mean number in flight is the throughput times the mean latency.

J. D. C. Little, A proof for the queuing formula L = lambda W, Operations Research 9 (1961). One
side is counted by the load generator while it asks, the other computed from its records afterwards.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.ledger.attribution.table import Ledger
from bench.ledger.verdict.codes import Found
from bench.record.records import Crowd

OFF_AT_MOST = 0.03


class InFlight(NamedTuple):
    """The mean number of requests in flight: as the generator counted it, None where it did not;
    and by the records.
    """

    counted: float | None
    recorded: float


def of_flight(mean: InFlight) -> Found:
    """Say whether the law is broken.

    What is compared with the count is the throughput times the mean latency, less what the window's
    edges make of it: the time of requests in flight at its end that lies behind it, and of those at
    its beginning that lies in it. That is the summed latency within the window, divided by it, and
    equals the count at any length and however unsteady the run was, unless records were lost, are
    doubled or have wrong times, or the window is not that of the load.
    """
    counted, recorded = mean
    if counted and abs(recorded - counted) > OFF_AT_MOST * counted:
        said = f"{counted:.3g} requests were in flight, but rate x latency is {recorded:.3g}"
        yield "LITTLE", said, True


def mean_in_flight(
    crowds: Sequence[Sequence[Crowd]],
    ledger: Ledger,
    *,
    window_ns: tuple[int, int],
    running_ns: int,
) -> InFlight:
    """Return how many requests were in flight in the window, on average over the time that the load
    ran in it. The ledger is of all successful requests, whenever they were due.

    Counted is by each generator process from the first to the last count of any in the window.
    Before and after, a quarter of a second at most, the records have to do.
    """
    start, end = window_ns
    if running_ns <= 0:
        return InFlight(None, 0.0)
    recorded = _spent(ledger, start, end) / running_ns
    counts = [one.time_ns for crowd in crowds for one in crowd if start <= one.time_ns <= end]
    if len(counts) < 2:
        return InFlight(None, recorded)
    first, last = min(counts), max(counts)
    spent = _spent(ledger, start, first) + _spent(ledger, last, end)
    for crowd in crowds:
        at = [float(one.time_ns - start) for one in crowd]
        so_far = np.interp([first - start, last - start], at, [one.spent_ns for one in crowd])
        spent += float(so_far[1] - so_far[0])
    return InFlight(spent / running_ns, recorded)


def _spent(ledger: Ledger, start: int, end: int) -> float:
    """The time that requests were in flight between these moments, summed, in ns."""
    inside = np.minimum(ledger.end_ns, end) - np.maximum(ledger.due_ns, start)
    return float(np.maximum(inside, 0).sum(dtype=float))
