"""Single requests of a run: the one in the middle and the slowest, and when others failed."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.ledger.attribution.ledger import Timeline
from bench.ledger.details.course import Course, course
from bench.ledger.details.distribution import Distribution, distribution_of
from bench.ledger.reading import Reading, latency_ns, picked
from pipelines.spans import Request

SLOWEST = 20


@dataclass(frozen=True)
class Details:
    """What pictures of a run are made of: the `median` request and the `slowest` of those that were
    measured, None and none where none succeeded. `start_ns` is when the window began.
    """

    start_ns: int
    distribution: Distribution | None
    course: Course | None
    median: Timeline | None
    slowest: list[Timeline]


def details(run: Reading) -> Details:
    """Return them; its requests are read once more. Raises ResultsError as `read` does."""
    spread = distribution_of(run)
    chooser = _Chooser(run, spread)
    found = picked(run.folder, chooser)
    return Details(
        run.window_ns[0],
        spread,
        course(run, chooser.failed_due_ns),
        found[0] if found else None,
        found[1:],
    )


class _Chooser:
    """Takes of a run's requests the one nearest to the median and the slowest, in that order."""

    def __init__(self, run: Reading, spread: Distribution | None) -> None:
        self.failed_due_ns = array("q")  # of an overloaded run they are many
        self._measures = run.manifest.measures
        middle = spread.quantiles["p50"].value if spread else None
        if spread and middle is None:
            middle = spread.latency_ms[len(spread.latency_ms) // 2]
        self._middle_ns = round((middle or 0.0) * 1e6)
        self._nearest: Request | None = None

    def __call__(self, everything: Iterable[Request]) -> list[Request]:
        slowest = heapq.nlargest(SLOWEST, self._measured(everything), key=latency_ns)
        return [self._nearest, *slowest] if self._nearest else []

    def _measured(self, everything: Iterable[Request]) -> Iterator[Request]:
        best = 1 << 62
        for one in everything:
            if one.error is not None:
                self.failed_due_ns.append(one.due_ns)
            elif self._measures(one.due_ns):
                off = abs(latency_ns(one) - self._middle_ns)
                if off < best:
                    best, self._nearest = off, one
                yield one
