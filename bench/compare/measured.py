"""What a threshold is about: a metric in a run, or of a side in each block, and its noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bench.compare.observations import QUANTILES, STAGE, Slice
from bench.compare.randomization import Floats
from bench.compare.thresholds import ERRORS
from bench.ledger.attribution import Ledger
from bench.ledger.summary import Summary
from bench.ledger.units import clean, number
from pipelines.errors import VisiontaxError
from pipelines.spans import HOP


def in_blocks(side: dict[str, Floats], metric: str) -> Floats:
    """A side's metric in each observation; a share is of the stages' sum."""
    parts = {
        "non_inference_share": [name for name in side if name != f"{STAGE}inference"],
        "other_share": [f"{STAGE}other"],
        "broker_share": [f"{STAGE}{name}" for name in HOP],
    }
    if metric not in parts:
        return side.get(metric, np.zeros_like(side["mean"]))
    stages = {
        name: np.nan_to_num(values) for name, values in side.items() if name.startswith(STAGE)
    }
    whole = np.sum(list(stages.values()), axis=0)
    part = np.sum([stages[name] for name in parts[metric] if name in stages], axis=0)
    shares: Floats = np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
    return shares


def of_summary(summary: Summary) -> dict[str, float]:
    """A run's metrics by name, those that it has. Raises VisiontaxError of no success."""
    latency = summary.latency_ms
    if latency is None:
        raise VisiontaxError(
            f"no request of {clean(summary.run)} succeeded: there is nothing to judge",
            hint="'bench report' of its folder says why",
        )
    found: dict[str, float | None] = {
        "throughput": summary.throughput_per_s,
        **{name: getattr(latency, name) for name in ("mean", *QUANTILES)},
        **{f"{STAGE}{name}": time.mean_ms for name, time in summary.stages.items()},
        "non_inference_share": summary.non_inference_share,
        "other_share": summary.other_share,
        "broker_share": summary.broker_share,
        ERRORS: summary.errors / summary.requests,
    }
    return {name: value for name, value in found.items() if value is not None}


def noise(ledger: Ledger, slices: Sequence[Slice], *, settle_s: float) -> float | None:
    """Return how far A's mean latencies in the two slices of a block are apart, a part of 1.

    It is the root mean square over the blocks; `ledger` is of A's requests. None when in no block
    both slices finished a request.
    """
    ours = sorted((one for one in slices if one.side == "a"), key=lambda one: one.start_ns)
    if not ours:
        return None
    starts = np.array([one.start_ns + round(settle_s * 1e9) for one in ours])
    ends = np.array([one.end_ns for one in ours])
    at = np.searchsorted(starts, ledger.due_ns, side="right") - 1
    counts = (at >= 0) & (ledger.end_ns <= ends[at])
    took = np.bincount(at[counts], weights=ledger.latency_ns[counts], minlength=len(ours))
    many = np.bincount(at[counts], minlength=len(ours))
    blocks: dict[int, list[float]] = {}
    for one, sum_ns, count in zip(ours, took.tolist(), many.tolist(), strict=True):
        if count:
            blocks.setdefault(one.block, []).append(math.log(sum_ns / count))
    apart = [(pair[1] - pair[0]) ** 2 for pair in blocks.values() if len(pair) > 1]
    return math.expm1(math.sqrt(sum(apart) / len(apart))) if apart else None


def told(metric: str, value: float) -> str:
    """Return a value with its unit."""
    if metric.endswith("_share"):
        return f"{number(100 * value)} %"
    return f"{number(value)}{'/s' if metric == 'throughput' else ' ms'}"


def absent(metric: str, where: str, known: Sequence[str]) -> VisiontaxError:
    return VisiontaxError(
        f"there is no {metric} {where}: its limit says nothing",
        hint=f"there is {', '.join(known)}",
    )
