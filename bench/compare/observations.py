"""An experiment's folder as observations: for each block and side the metrics of its slices.

    ab.json   which side had the machine when, in blocks of four slices
    a/, b/    ordinary run folders, also while they are being written

A side's two slices of a block are taken together: its percentiles are of all their requests.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bench.compare.randomization import LOOKS, Floats
from bench.ledger import reading
from bench.ledger.attribution.stored import Ints
from bench.ledger.attribution.table import COLUMNS, Ledger
from bench.ledger.quantiles import needed
from bench.record import files
from pipelines.errors import ResultsError
from pipelines.spans import Nanoseconds

SCHEMA = 1
EXPERIMENT = "ab.json"
SIDES: tuple[Literal["a"], Literal["b"]] = ("a", "b")
PER_BLOCK = 4
STAGE = "stage."
"""What a stage's name is preceded by among the metrics."""

QUANTILES = {"p50": 50, "p95": 95, "p99": 99}

Interval = tuple[float, float]


class Slice(msgspec.Struct, frozen=True):
    """When one side had the machine for itself."""

    block: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    side: Literal["a", "b"]
    start_ns: Nanoseconds
    end_ns: Nanoseconds


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What `ab.json` holds: what the sides are, and whose turn it was.

    The first `settle_s` seconds of a slice do not count. `looks` are the numbers of blocks after
    which the data was looked at, and there could have been `looks_at_most`. `stopped` is None
    while the experiment goes on.
    """

    schema: int
    a: str
    b: str
    settle_s: Annotated[float, msgspec.Meta(ge=0, le=3600)]
    slices: list[Slice]
    looks: list[int] = []
    looks_at_most: Annotated[int, msgspec.Meta(ge=1, le=1000)] = len(LOOKS)
    stopped: Literal["sure", "budget", "interrupted"] | None = None


@dataclass(frozen=True)
class Observations:
    """What was seen of both sides, by metric: `throughput` in requests/s, the others in ms.

    `a` and `b` hold an array [observations] for `throughput`, `mean`, `p50`, `p95`, `p99` and
    `stage.NAME` of every stage; 0 where a stage took no time, NaN where it is unknown. Those of
    blocks also hold `requests`, how many these are of, and `apart`, the logarithm of the mean
    latency in a side's second slice over that in its first. An observation is a block or a run;
    `paired` says that A's and B's belong together one by one. `left_out` are the blocks in which a
    side finished no request. `within` has the interval of each quantile of a side that is one run.
    """

    a: dict[str, Floats]
    b: dict[str, Floats]
    paired: bool = True
    left_out: tuple[int, ...] = ()
    within: tuple[dict[str, Interval], dict[str, Interval]] = ({}, {})

    @property
    def counts(self) -> tuple[int, int]:
        """How many observations there are of A and of B."""
        return len(self.a["mean"]), len(self.b["mean"])

    @property
    def metrics(self) -> list[str]:
        """The metrics that took place on a side, stages in the order in which a request passes;
        and the quantiles, also where there are too few requests to tell them.
        """
        stages = (STAGE + name for name in COLUMNS)
        return [
            name
            for name in ("throughput", "mean", *QUANTILES, *stages)
            if any(
                name in QUANTILES or (side[name] > 0).any()
                for side in (self.a, self.b)
                if name in side
            )
        ]

    def lacks(self, metric: str) -> bool:
        """Whether a side's blocks have too few requests, all together, to tell the quantile."""
        return metric in QUANTILES and any(
            side["requests"].sum() < needed(QUANTILES[metric] / 100)
            for side in (self.a, self.b)
            if "requests" in side
        )

    @property
    def noise(self) -> float | None:
        """How far A's mean latencies in the two slices of a block are apart, a part of 1.

        It is the root mean square over the blocks, None where in none both finished a request.
        """
        apart = self.a["apart"][np.isfinite(self.a["apart"])]
        return float(np.expm1(np.sqrt((apart**2).mean()))) if len(apart) else None

    def logs(self, metric: str) -> Floats:
        """Return the logarithm of B over A of the pairs that have one, [pairs]."""
        return log_ratios(self.a[metric], self.b[metric])


def log_ratios(a: Floats, b: Floats) -> Floats:
    """Return the logarithm of B over A of the pairs in which both are positive, [pairs]."""
    known = (a > 0) & (b > 0)
    ratios: Floats = np.log(b[known] / a[known])
    return ratios


def read_experiment(folder: Path) -> Experiment:
    """Read `ab.json`. Raises ResultsError when it is not there, damaged or of a newer version."""
    path = folder / EXPERIMENT
    absent = ResultsError(
        f"{folder} is not an experiment: it has no {EXPERIMENT}",
        hint="experiments are the folders results/*-ab that 'bench ab' makes",
    )
    named = f"{path} has schema"
    return files.read_versioned(path, Experiment, newest=SCHEMA, named=named, absent=absent)


class Watch:
    """An experiment's blocks as they come: each look reads only what is new.

    `read` is what the last look has read of each side.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read: dict[str, reading.Reading] = {}
        self._places: dict[str, Counter[Path]] = {side: Counter() for side in SIDES}
        self._found: dict[str, dict[str, Floats]] = {side: {} for side in SIDES}
        self._blocks: list[int] = []

    def look(self) -> Observations:
        """Return what the whole blocks say, also while the experiment goes on.

        Raises ResultsError when the folder is damaged, when there is no whole block, or when in
        none of them both sides finished a request.
        """
        experiment = read_experiment(self.folder)
        fresh = [one for one in _whole(experiment.slices) if one.block not in self._blocks]
        self._blocks += dict.fromkeys(one.block for one in fresh)
        if not self._blocks:
            raise ResultsError(
                f"{self.folder} has no whole block of {PER_BLOCK} slices",
                hint="run 'bench ab' with a larger --budget",
            )
        for side in SIDES if fresh else ():
            self.read[side] = reading.read(self.folder / side, places=self._places[side])
            ours = [one for one in fresh if one.side == side]
            settle_ns = round(experiment.settle_s * 1e9)
            new = metrics_of(self.read[side].ledger, ours, settle_ns=settle_ns)
            old = self._found[side]
            self._found[side] = {
                name: np.concatenate([old.get(name, new[name][:0]), new[name]]) for name in new
            }
        return self._paired(*self._found.values())

    def _paired(self, a: dict[str, Floats], b: dict[str, Floats]) -> Observations:
        finished = {"a": a["mean"] > 0, "b": b["mean"] > 0}
        both = finished["a"] & finished["b"]
        if not both.any():
            silent = min(SIDES, key=lambda side: finished[side].sum())
            amount = "no request" if not finished[silent].any() else "too few requests"
            raise ResultsError(
                f"{silent.upper()} finished {amount} in its slices: there is nothing to compare",
                hint=f"'bench report {self.folder / silent}' shows its errors; or make --slice "
                "longer",
            )
        return Observations(
            {name: values[both] for name, values in a.items()},
            {name: values[both] for name, values in b.items()},
            left_out=tuple(np.array(self._blocks)[~both].tolist()),
        )


def _whole(slices: Iterable[Slice]) -> list[Slice]:
    """The slices of the blocks that have all of theirs, two of each side."""
    blocks: dict[int, list[Slice]] = {}
    for one in slices:
        blocks.setdefault(one.block, []).append(one)
    half = PER_BLOCK // 2
    return [
        one
        for _, block in sorted(blocks.items())
        if all(sum(one.side == side for one in block) == half for side in SIDES)
        for one in block
    ]


def metrics_of(ledger: Ledger, slices: Sequence[Slice], *, settle_ns: int) -> dict[str, Floats]:
    """Return one side's metrics in each whole block, [blocks], from the ledger of its requests."""
    slices = sorted(slices, key=lambda one: one.start_ns)
    starts = np.array([one.start_ns + settle_ns for one in slices])
    ends = np.array([one.end_ns for one in slices])
    at = np.searchsorted(starts, ledger.end_ns, side="right") - 1
    inside = (at >= 0) & (ledger.end_ns <= ends[at])
    counted, at = ledger.select(inside), at[inside]
    numbers, block = np.unique([one.block for one in slices], return_inverse=True)
    seconds = np.bincount(block, weights=(ends - starts) / 1e9)
    counts = counted.due_ns >= starts[at]
    found = _metrics(counted, block[at], counts=counts, blocks=len(numbers))
    # What was due while the side settled has no latency that counts, but it kept its user from
    # asking again: without it the slower side would seem to have fewer requests than it had.
    found["throughput"] = np.bincount(block[at], minlength=len(numbers)) / seconds
    many = np.bincount(at[counts], minlength=len(slices))
    took = np.bincount(at[counts], weights=counted.latency_ns[counts], minlength=len(slices))
    mean = np.divide(took, many, out=np.full(len(slices), np.nan), where=many > 0)
    first, second = mean[np.argsort(block, kind="stable")].reshape(-1, PER_BLOCK // 2).T
    found["apart"] = np.log(second / first)
    return found


def _metrics(
    counted: Ledger, block: Ints, *, counts: npt.NDArray[np.bool_], blocks: int
) -> dict[str, Floats]:
    """The latencies and stages of the requests that count, by metric, [blocks]."""
    told = counts & counted.joined if counted.joined.any() else counts
    latencies = np.full((1 + len(QUANTILES), blocks), np.nan)
    stages = np.full((len(COLUMNS), blocks), np.nan)
    latency_ns, time_ns = counted.latency_ns[counts], counted.time_ns[told]
    for number, rows in enumerate(_grouped(block[counts], blocks=blocks)):
        if len(rows):
            latency_ms = latency_ns[rows] / 1e6
            percentiles = np.percentile(latency_ms, list(QUANTILES.values()))
            latencies[:, number] = [latency_ms.mean(), *percentiles]
    for number, rows in enumerate(_grouped(block[told], blocks=blocks)):
        if len(rows):
            stages[:, number] = (time_ns[rows] / 1e6).mean(axis=0)
    names = ("requests", "mean", *QUANTILES, *(STAGE + name for name in COLUMNS))
    requests = np.bincount(block[counts], minlength=blocks).astype(float)
    return dict(zip(names, [requests, *latencies, *stages], strict=True))


def _grouped(block: Ints, *, blocks: int) -> list[Ints]:
    """The rows of each block, in their order."""
    order = np.argsort(block, kind="stable")
    return np.split(order, np.searchsorted(block[order], np.arange(1, blocks)))
