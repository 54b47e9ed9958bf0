"""`bench compare`: the table of an experiment again, or of stored runs, each one observation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.compare.comparison import Comparison, Remark, Side, compare
from bench.compare.likeness import WORDS, differing, thing_of
from bench.compare.observations import (
    QUANTILES,
    STAGE,
    Experiment,
    Interval,
    Observations,
    Watch,
    read_experiment,
)
from bench.compare.randomization import Floats
from bench.ledger import reading, units
from bench.ledger.attribution.table import COLUMNS
from bench.ledger.summary import Latency, Summary, describe
from bench.record.manifest import Manifest
from pipelines.errors import VisiontaxError

LONGEST = 40
"""So many characters of what a side is are shown."""


@dataclass(frozen=True)
class Run:
    """A stored run."""

    manifest: Manifest
    summary: Summary

    @staticmethod
    def read(folder: Path) -> Run:
        """Read it. Raises ResultsError as `bench.ledger.reading.read` does."""
        found = reading.read(folder)
        return Run(found.manifest, found.summary())


@dataclass(frozen=True)
class Experimented:
    """A stored experiment, also one that still goes on."""

    experiment: Experiment
    seen: Observations
    a: Run
    b: Run

    @staticmethod
    def read(folder: Path) -> Experimented:
        """Read each side once. Raises ResultsError as `Watch.look` does."""
        watch = Watch(folder)
        seen = watch.look()
        a, b = (Run(one.manifest, one.summary()) for one in watch.read.values())
        return Experimented(read_experiment(folder), seen, a, b)


def of_experiment(folder: Path) -> Comparison:
    """Return the comparison that an experiment's folder holds. Raises as its reading does."""
    return comparison_of(Experimented.read(folder))


def comparison_of(stored: Experimented) -> Comparison:
    """Return the comparison of an experiment's sides."""
    experiment, seen, a, b = stored.experiment, stored.seen, stored.a, stored.b
    words = re.findall(r"([a-z_-]+)=", f"{experiment.a} {experiment.b}")
    by = {thing for word in words for thing in WORDS.get(word, (word.replace("-", "_"),))}
    stopped: dict[str | None, Remark] = {"interrupted": ("interrupted",), None: ("going on",)}
    return compare(
        seen,
        a=_side([a], experiment.a),
        b=_side([b], experiment.b),
        unit="block",
        shared=_shared([a, b]),
        doubts=_doubts([a], [b], by=by),
        notes=[one for how, one in stopped.items() if how == experiment.stopped],
        looks_at_most=experiment.looks_at_most,
    )


def of_runs(a: Sequence[Run], b: Sequence[Run], *, by: Sequence[str] = ()) -> Comparison:
    """Return the comparison of stored runs, in pairs where the sides have as many.

    `by` are the THINGS that are compared; the one that differs where none is named. Raises
    VisiontaxError when the runs are of several pipelines, or in one no request succeeded.
    """
    runs = [*a, *b]
    pipelines = sorted({run.manifest.settings.pipeline for run in runs})
    if len(pipelines) > 1:
        raise VisiontaxError(
            f"these runs are of several pipelines: {', '.join(map(units.clean, pipelines))}",
            hint="compare runs of one pipeline",
        )
    for run in runs:
        if run.summary.latency_ms is None:
            name = run.manifest.run
            raise VisiontaxError(
                f"no request of {name} succeeded", hint=f"'bench report' of {name} says why"
            )
    apart = differing(a[0].manifest, b[0].manifest)
    chosen = set(by) or set(apart if len(apart) == 1 else ())
    return compare(
        Observations(
            *(_values(a), _values(b)),
            paired=len(a) == len(b),
            within=(_within(a), _within(b)),
        ),
        a=_side(a, _label(a, apart)),
        b=_side(b, _label(b, apart)),
        unit="run",
        shared=_shared(runs),
        doubts=_doubts(a, b, by=chosen),
        notes=_in_a_row(a, b),
    )


def _in_a_row(a: Sequence[Run], b: Sequence[Run]) -> list[Remark]:
    """A note where one side was measured before the other, and not in turns with it."""
    made = {
        name: [run.manifest.clock.get("unix_ns", 0) for run in side]
        for name, side in (("A", a), ("B", b))
    }
    if min(len(a), len(b)) == 1:
        return []
    return [
        ("in a row", first, then)
        for first, then in ("AB", "BA")
        if max(made[first]) < min(made[then])
    ]


def _values(runs: Sequence[Run]) -> dict[str, Floats]:
    """The runs' metrics, as observations have them."""
    found: dict[str, list[float | None]] = {
        "throughput": [run.summary.throughput_per_s for run in runs],
        "mean": [one.mean for one in _latencies(runs)],
        **{name: [one.quantiles[name].value for one in _latencies(runs)] for name in QUANTILES},
    }
    for stage in COLUMNS:
        times = [run.summary.stages.get(stage) for run in runs]
        found[STAGE + stage] = [time.mean_ms if time else 0.0 for time in times]
    return {name: np.array(values, np.float64) for name, values in found.items()}


def _within(runs: Sequence[Run]) -> dict[str, Interval]:
    """The intervals of the quantiles of a side that is one run."""
    told = [one.quantiles[name] for one in _latencies(runs) for name in QUANTILES]
    known = zip(QUANTILES, told, strict=True) if len(runs) == 1 else ()
    return {name: (q.low, q.high) for name, q in known if q.low is not None and q.high is not None}


def _latencies(runs: Sequence[Run]) -> list[Latency]:
    return [run.summary.latency_ms for run in runs if run.summary.latency_ms]


def _side(runs: Sequence[Run], label: str) -> Side:
    issues = [issue for run in runs for issue in run.summary.issues if issue.invalid]
    return Side(
        label=units.clean(label),
        runs=[units.clean(run.manifest.run) for run in runs],
        valid=all(run.summary.valid for run in runs),
        issues=list(dict.fromkeys(issue.code for issue in issues)),
    )


def _label(runs: Sequence[Run], apart: Sequence[str]) -> str:
    """What tells a side's runs from the other's, their names where nothing does."""
    told = [
        f"{thing}={str(thing_of(runs[0].manifest, thing).get(thing))[:LONGEST]}"
        for thing in apart
        if thing not in ("models", "packages")
    ]
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return " ".join(told) or f"{runs[0].manifest.run}{more}"


def _shared(runs: Sequence[Run]) -> list[str]:
    """What all runs have in common, and where they were made, as phrases."""
    told = [[*units.phrases(units.settings(run.summary))[:-1], run.summary.machine] for run in runs]
    return [units.clean(phrase) for phrase in told[0] if all(phrase in other for other in told)]


def _doubts(a: Sequence[Run], b: Sequence[Run], *, by: set[str]) -> list[Remark]:
    """What is not alike besides the things compared, between the sides or within one."""
    found: list[Remark] = []
    machines = [sorted({describe(run.manifest) for run in side}) for side in (a, b)]
    if len({*machines[0], *machines[1]}) > 1:
        found.append(("machine", *map(", ".join, machines)))
    schemas = sorted({run.manifest.schema for run in [*a, *b]})
    if len(schemas) > 1:
        found.append(("schema", " and ".join(map(str, schemas))))
    apart = [name for name in differing(a[0].manifest, b[0].manifest) if name not in by]
    if apart:
        found.append(("settings", "A and B also" if by else "A and B", ", ".join(apart)))
    for name, side in (("A", a), ("B", b)):
        mixed = {one for run in side[1:] for one in differing(side[0].manifest, run.manifest)}
        if mixed:
            found.append(("settings", f"the runs of {name}", ", ".join(sorted(mixed))))
    return found
