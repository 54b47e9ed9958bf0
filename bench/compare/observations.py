"""An experiment's folder as observations: for each block and side the metrics of its slices.

    ab.json   which side had the machine when, in blocks of four slices
    a/, b/    ordinary run folders, also while they are being written

A side's two slices of a block are taken together: its percentiles are of all their requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from bench.compare.randomization import LOOKS, Floats
from bench.ledger import reading
from bench.ledger.attribution import COLUMNS, Ints, Ledger
from bench.record import files
from pipelines.errors import ResultsError

SCHEMA = 1
EXPERIMENT = "ab.json"
SIDES: tuple[Literal["a"], Literal["b"]] = ("a", "b")
PER_BLOCK = 4
STAGE = "stage."
"""What a stage's name is preceded by among the metrics."""

QUANTILES = {"p50": 50, "p95": 95, "p99": 99}


class Slice(msgspec.Struct, frozen=True):
    """When one side had the machine for itself."""

    block: int
    side: Literal["a", "b"]
    start_ns: int
    end_ns: int


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What `ab.json` holds: what the sides are, and whose turn it was.

    The first `settle_s` seconds of a slice do not count. `looks` are the numbers of blocks after
    which the data was looked at, and there could have been `looks_at_most`. `stopped` is None
    while the experiment goes on.
    """

    schema: int
    a: str
    b: str
    settle_s: float
    slices: list[Slice]
    looks: list[int] = []
    looks_at_most: int = len(LOOKS)
    stopped: Literal["sure", "budget", "interrupted"] | None = None


@dataclass(frozen=True)
class Observations:
    """What was seen of both sides, by metric: `throughput` in requests/s, the others in ms.

    `a` and `b` hold an array [observations] for `throughput`, `mean`, `p50`, `p95`, `p99` and
    `stage.NAME` of every stage; 0 where a stage took no time, NaN where it is unknown. An
    observation is a block or a run; `paired` says that A's and B's belong together one by one.
    `left_out` are the blocks in which a side finished no request.
    """

    a: dict[str, Floats]
    b: dict[str, Floats]
    paired: bool = True
    left_out: tuple[int, ...] = ()

    @property
    def counts(self) -> tuple[int, int]:
        """How many observations there are of A and of B."""
        return len(self.a["mean"]), len(self.b["mean"])

    @property
    def metrics(self) -> list[str]:
        """The metrics that took place on a side, stages in the order in which a request passes."""
        stages = (STAGE + name for name in COLUMNS)
        return [
            name
            for name in ("throughput", "mean", *QUANTILES, *stages)
            if any((side[name] > 0).any() for side in (self.a, self.b) if name in side)
        ]

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


def read_ledger(run: Path) -> Ledger:
    """Return the ledger of all requests of a run. Raises ResultsError as its reading does."""
    return reading.read(run).ledger


def observe(folder: Path, ledger_of: Callable[[Path], Ledger] = read_ledger) -> Observations:
    """Return what the whole blocks of an experiment say, also while it goes on.

    `ledger_of` gives the ledger of a side's run. Raises ResultsError when the folder is damaged,
    when there is no whole block, or when in none of them both sides finished a request.
    """
    experiment = read_experiment(folder)
    whole = _whole(experiment.slices)
    if not whole:
        raise ResultsError(
            f"{folder} has no whole block of {PER_BLOCK} slices",
            hint="run 'bench ab' with a larger --budget",
        )
    settle_ns = round(experiment.settle_s * 1e9)
    a, b = (
        metrics_of(
            ledger_of(folder / side),
            [one for one in whole if one.side == side],
            settle_ns=settle_ns,
        )
        for side in SIDES
    )
    finished = {side: found["mean"] > 0 for side, found in (("a", a), ("b", b))}
    both = finished["a"] & finished["b"]
    if not both.any():
        silent = min(SIDES, key=lambda side: finished[side].sum())
        amount = "no request" if not finished[silent].any() else "too few requests"
        raise ResultsError(
            f"{silent.upper()} finished {amount} in its slices: there is nothing to compare",
            hint=f"'bench report {folder / silent}' shows its errors; or make --slice longer",
        )
    numbers = sorted({one.block for one in whole})
    return Observations(
        {name: values[both] for name, values in a.items()},
        {name: values[both] for name, values in b.items()},
        left_out=tuple(block for block, known in zip(numbers, both, strict=True) if not known),
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
    """Return one side's metrics in each block, [blocks], from the ledger of its requests."""
    slices = sorted(slices, key=lambda one: one.start_ns)
    starts = np.array([one.start_ns + settle_ns for one in slices])
    ends = np.array([one.end_ns for one in slices])
    at = np.searchsorted(starts, ledger.end_ns, side="right") - 1
    inside = (at >= 0) & (ledger.end_ns <= ends[at])
    counted, at = ledger.select(inside), at[inside]
    numbers, block = np.unique([one.block for one in slices], return_inverse=True)
    seconds = np.bincount(block, weights=(ends - starts) / 1e9)
    found = _metrics(counted, block[at], counts=counted.due_ns >= starts[at], blocks=len(numbers))
    # What was due while the side settled has no latency that counts, but it kept its user from
    # asking again: without it the slower side would seem to have fewer requests than it had.
    found["throughput"] = np.bincount(block[at], minlength=len(numbers)) / seconds
    return found


def _metrics(
    counted: Ledger, block: Ints, *, counts: npt.NDArray[np.bool_], blocks: int
) -> dict[str, Floats]:
    """The latencies and stages of the requests that count, by metric, [blocks]."""
    found = {name: np.full(blocks, np.nan) for name in ("mean", *QUANTILES)}
    found |= {STAGE + name: np.full(blocks, np.nan) for name in COLUMNS}
    told = counts & counted.joined if counted.joined.any() else counts
    latency_ns, time_ns = counted.latency_ns[counts], counted.time_ns[told]
    for number, rows in enumerate(_grouped(block[counts], blocks=blocks)):
        if len(rows):
            latencies = latency_ns[rows] / 1e6
            found["mean"][number] = latencies.mean()
            for name, percentile in zip(
                QUANTILES, np.percentile(latencies, list(QUANTILES.values())), strict=True
            ):
                found[name][number] = percentile
    for number, rows in enumerate(_grouped(block[told], blocks=blocks)):
        if len(rows):
            for name, mean in zip(COLUMNS, (time_ns[rows] / 1e6).mean(axis=0), strict=True):
                found[STAGE + name][number] = mean
    return found


def _grouped(block: Ints, *, blocks: int) -> list[Ints]:
    """The rows of each block, in their order."""
    order = np.argsort(block, kind="stable")
    return np.split(order, np.searchsorted(block[order], np.arange(1, blocks)))
