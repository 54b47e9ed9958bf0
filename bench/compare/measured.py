"""What a threshold is about: a metric in a run, or of a side in each block."""

from collections.abc import Sequence

import numpy as np

from bench.compare.observations import QUANTILES, STAGE
from bench.compare.randomization import Floats
from bench.compare.thresholds import ERRORS
from bench.ledger.quantiles import Quantile
from bench.ledger.summary import Summary
from bench.ledger.units import clean
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


def of_summary(summary: Summary) -> dict[str, float | Quantile]:
    """A run's metrics by name, those that it has; a quantile with its interval, also where there
    are too few requests. Raises VisiontaxError of no success.
    """
    latency = summary.latency_ms
    if latency is None:
        raise VisiontaxError(
            f"no request of {clean(summary.run)} succeeded: there is nothing to judge",
            hint="'bench report' of its folder says why",
        )
    found: dict[str, float | Quantile | None] = {
        "throughput": summary.throughput_per_s,
        "mean": latency.mean,
        **{name: latency.quantiles[name] for name in QUANTILES},
        **{f"{STAGE}{name}": time.mean_ms for name, time in summary.stages.items()},
        "non_inference_share": summary.non_inference_share,
        "other_share": summary.other_share,
        "broker_share": summary.broker_share,
        ERRORS: summary.errors / summary.requests,
    }
    return {name: value for name, value in found.items() if value is not None}


def absent(metric: str, where: str, known: Sequence[str]) -> VisiontaxError:
    return VisiontaxError(
        f"there is no {metric} {where}: its limit says nothing",
        hint=f"there is {', '.join(known)}",
    )
