"""What runs and studies come to, for tools that keep such numbers from commit to commit: Bencher's
Metric Format, and the list of github-action-benchmark. Names do not change from run to run.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.ledger.grid.kept import STUDY, Kept
from bench.ledger.grid.measures import measure
from bench.ledger.quantiles import Quantile
from bench.ledger.reading import summary_of
from bench.ledger.units import clean, number
from bench.record.manifest import read_manifest
from bench.record.scenario import title
from pipelines.errors import ResultsError

SHOWN = ("throughput", "mean", "p50", "p99", "not-inference")
"""The measures of a run, beside the mean of each stage; of a study it says them itself."""

MS = "ms"


class Benchmark(NamedTuple):
    """The settings of a run, or a cell of a study: its `values` by measure, those that it has, and
    the `runs` that they are from.
    """

    name: str
    values: dict[str, Quantile]
    runs: list[str]
    valid: bool


def benchmarks(folders: Sequence[Path]) -> list[Benchmark]:
    """Return those in the folders of runs and of studies.

    Raises ResultsError where one has no number, or two have one name.
    """
    found = [one for folder in folders for one in _in(folder)]
    names = [one.name for one in found]
    for one in found:
        if not one.values:
            raise ResultsError(f"no request of {one.name} succeeded", hint="bench report says why")
        if names.count(one.name) > 1:
            raise ResultsError(
                f"several of these runs are of {one.name}, and would be one benchmark",
                hint="give one of them; a study has several runs of the same settings",
            )
    return found


def _in(folder: Path) -> Iterator[Benchmark]:
    if not (folder / STUDY).exists():
        yield _of_run(folder)
        return
    found, _ = Kept.read(folder).found()
    if not found.points:
        raise ResultsError(f"{folder} has no run", hint="bench study --resume makes them")
    for point in found.points:
        stages = {f"stage.{name}": _exactly(ms) for name, ms in point.stages_ms.items()}
        name = clean(f"{found.name}: {point.cell}")
        yield Benchmark(name, _known(stages | point.values), point.runs, point.valid)


def _of_run(folder: Path) -> Benchmark:
    summary = summary_of(folder)
    shown = [*SHOWN, *(f"stage.{name}" for name in summary.stages)] if summary.latency_ms else []
    found = {name: measure(name).of(summary) for name in shown}
    values = {
        name: value if isinstance(value, Quantile) else _exactly(value)
        for name, value in found.items()
        if value is not None
    }
    name = clean(title(read_manifest(folder).settings))
    return Benchmark(name, _known(values), [summary.run], summary.valid)


def _exactly(value: float) -> Quantile:
    return Quantile(value, None, None, 1)


def _known(values: dict[str, Any]) -> dict[str, Quantile]:
    return {name: one for name, one in values.items() if one and one.value is not None}


def bencher(found: Sequence[Benchmark]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the benchmarks in Bencher's Metric Format: measures by benchmark.

    `throughput` and `latency` are its own, in operations a second and, of the mean, in ns; the
    others say their unit.
    """
    return {one.name: dict(_metric(*value) for value in one.values.items()) for one in found}


def _metric(name: str, value: Quantile) -> tuple[str, dict[str, float]]:
    unit = "percent" if measure(name).unit.startswith("%") else measure(name).unit
    slug, factor = f"{name}-{unit}".replace(".", "-"), 1.0
    if name == "throughput":
        slug = name
    elif name == "mean":
        slug, factor = "latency", 1e6
    ends = {"value": value.value, "lower_value": value.low, "upper_value": value.high}
    return slug, {end: factor * ms for end, ms in ends.items() if ms is not None}


def github_action_benchmark(found: Sequence[Benchmark]) -> list[dict[str, Any]]:
    """Return the times of the benchmarks for its tool `customSmallerIsBetter`; what is no time is
    told in `extra`.
    """
    return [
        {
            "name": f"{one.name} / {measure(name).title}",
            "unit": MS,
            "value": value.value,
            **({} if value.low is None else {"range": f"{number(value.low)} to {_high(value)}"}),
            "extra": _beside(one),
        }
        for one in found
        for name, value in one.values.items()
        if measure(name).unit == MS
    ]


def _high(value: Quantile) -> str:
    return number(value.high)


def _beside(one: Benchmark) -> str:
    others = [
        f"{measure(name).title}: {number(value.value)} {measure(name).unit}"
        for name, value in one.values.items()
        if measure(name).unit != MS
    ]
    verdict = "VALID" if one.valid else "INVALID"
    return "\n".join([*others, f"{verdict}: {clean(', '.join(one.runs))}"])
