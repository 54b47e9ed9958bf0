"""The latencies of a run as a few hundred exact order statistics, dense where they are rare."""

from dataclasses import dataclass

import numpy as np

from bench.ledger.attribution.stored import Ints
from bench.ledger.quantiles import Quantile, quantile
from bench.ledger.reading import Reading

MOST_POINTS = 500

PARTS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999}


@dataclass(frozen=True)
class Distribution:
    """Latencies of `count` requests: of `slower` of them each was `latency_ms` or longer.

    Both go from all requests to the slowest alone; every latency is one that was measured.
    """

    count: int
    slower: list[int]
    latency_ms: list[float]
    quantiles: dict[str, Quantile]


def distribution(latency_ns: Ints) -> Distribution | None:
    """Return how the latencies are distributed, None of no request."""
    count = len(latency_ns)
    if not count:
        return None
    values = np.sort(latency_ns) / 1e6
    slower = np.unique(np.geomspace(1, count, min(count, MOST_POINTS)).round().astype(int))[::-1]
    if count <= MOST_POINTS:
        slower = np.arange(count, 0, -1)
    return Distribution(
        count,
        slower.tolist(),
        values[count - slower].tolist(),
        {name: quantile(values, part) for name, part in PARTS.items()},
    )


def distribution_of(run: Reading) -> Distribution | None:
    """Return that of a run's measured requests which succeeded, None without one."""
    start, end = run.window_ns
    inside = run.ledger.due_ns >= start
    if run.manifest.window_end_ns is not None:
        inside &= run.ledger.due_ns < end
    return distribution(run.ledger.latency_ns[inside])
