"""What a study found: from the runs of its cells to points, whose numbers are medians over runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from bench.ledger.grid.cells import Cell
from bench.ledger.grid.fit import Fit, known, line
from bench.ledger.grid.measures import Measure, Shown, measure
from bench.ledger.grid.study import Line, Study
from bench.ledger.quantiles import Quantile, over_runs
from bench.ledger.summary import Summary
from bench.ledger.units import settings as settings_of
from pipelines.topologies.names import NOBODY

SCHEMA = 1


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One cell, by name and by axis `at`, with its `runs` in the order in which they were made.

    It is `valid` when all of them are. `values` are by measure: the median over the runs and where
    it is, from the least to the most of fewer than six; of a quantile of one run its own interval.
    They are None where no run has a number.
    `of_beside` is the throughput over that of the cell `beside`, None without one, and `of_alone`
    by measure its value over that of the cell of that name in `alone`, where both have one.
    `shown` is the run that stands for them in pictures, the one with the median latency, and
    `stages_ms` the mean time of each of its stages.
    """

    cell: str
    at: dict[str, str]
    runs: list[str]
    valid: bool
    beside: str
    values: dict[str, Quantile | None]
    of_beside: float | None
    shown: str
    stages_ms: dict[str, float]
    alone: dict[str, str] = {}
    of_alone: dict[str, float] = {}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run; `issues` are the codes of what is to be known about it."""

    run: str
    cell: str
    valid: bool
    issues: list[str]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench study --format json` prints.

    `settings` are those that all runs share, `axes` those that do not. `lacking` is why cells were
    left out on this machine, and `failed` what those said of which no run could be made.
    `alone` are by measure the cells with which it is compared, and `fits` the straight lines.
    `uncounted` is why energy that a measure is of could not be counted.
    """

    schema: int
    name: str
    title: str
    question: str
    axes: list[str]
    across: str
    columns: str
    measures: list[str]
    beside: dict[str, str]
    settings: dict[str, str]
    machine: str
    note: str
    points: list[Point]
    runs: list[Run]
    lacking: list[str]
    failed: dict[str, str]
    uncounted: list[str] = []
    alone: dict[str, dict[str, str]] = {}
    fits: list[Fit] = []

    @property
    def valid(self) -> bool:
        """Whether all runs are."""
        return all(run.valid for run in self.runs)

    @property
    def shown(self) -> list[Measure]:
        """The measures."""
        return [measure(name) for name in self.measures]


def found_of(
    name: str,
    study: Study,
    cells: Sequence[Cell],
    runs: Mapping[str, Sequence[Summary]],
    *,
    lacking: Sequence[str] = (),
    failed: Mapping[str, str] | None = None,
) -> Found:
    """Return what the runs of the cells, by the cell's name, come to; cells without are left out.

    An axis on which all cells are alike is a setting that they share.
    """
    summaries = [one for cell in cells for one in runs.get(cell.name, ())]
    points = {cell.name: _point(study, cell, own) for cell in cells if (own := runs.get(cell.name))}
    axes = [axis for axis in study.axes if len({cell.at[axis] for cell in cells}) > 1]
    points = {
        name: msgspec.structs.replace(
            point,
            of_beside=_ratio("throughput", point, points.get(point.beside)),
            of_alone={
                of: ratio
                for of, other in point.alone.items()
                if (ratio := _ratio(of, point, points.get(other))) is not None
            },
        )
        for name, point in points.items()
    }
    machines = list(dict.fromkeys(one.machine for one in summaries))
    return Found(
        schema=SCHEMA,
        name=name,
        title=study.title,
        question=study.question,
        axes=axes or list(study.axes)[:1],
        across=study.across if study.across in axes else "",
        columns=study.columns if study.columns in axes else "",
        measures=study.measures,
        beside={axis: str(value) for axis, value in study.beside.items()},
        settings=_shared(summaries, but=axes),
        machine=machines[0] if len(machines) == 1 else f"{len(machines)} machines",
        note=study.note,
        points=list(points.values()),
        runs=[
            Run(
                run=one.run,
                cell=cell.name,
                valid=one.valid,
                issues=[issue.code for issue in one.issues],
            )
            for cell in cells
            for one in runs.get(cell.name, ())
        ],
        lacking=list(lacking),
        failed=dict(failed or {}),
        alone={
            of: {axis: str(value) for axis, value in where.items()}
            for of, where in study.alone.items()
        },
        fits=list(_fits(study.line, points.values())) if study.line else [],
        uncounted=_uncounted(summaries) if {"energy", "power"} & {*study.measures} else [],
    )


def _uncounted(summaries: Iterable[Summary]) -> list[str]:
    looked = [one.energy for one in summaries if one.energy]
    told = [f"{name}: {why}" for one in looked for name, why in one.lacking.items()]
    return list(dict.fromkeys(told))


def _shared(summaries: Iterable[Summary], *, but: Sequence[str]) -> dict[str, str]:
    """The settings that all runs have alike to which they apply, by name."""
    found: dict[str, set[str]] = {}
    for one in summaries:
        for name, text in ({"only": "", "server": ""} | settings_of(one)).items():
            if text != NOBODY:  # inference alone: nobody preprocesses
                found.setdefault(name, set()).add(text)
    return {
        name: next(iter(texts))
        for name, texts in found.items()
        if len(texts) == 1 and name not in but and "" not in texts
    }


def _point(study: Study, cell: Cell, runs: Sequence[Summary]) -> Point:
    def mean_ms(run: Summary) -> float:
        return run.latency_ms.mean if run.latency_ms else float("inf")

    shown = sorted(runs, key=mean_ms)[(len(runs) - 1) // 2]
    return Point(
        cell=cell.name,
        beside=cell.beside,
        alone=cell.alone,
        at=cell.at,
        runs=[run.run for run in runs],
        valid=all(run.valid for run in runs),
        values={name: _value([measure(name).of(run) for run in runs]) for name in _measured(study)},
        of_beside=None,
        shown=shown.run,
        stages_ms={name: time.mean_ms for name, time in shown.stages.items()},
    )


def _value(shown: Sequence[Shown]) -> Quantile | None:
    told = [one for one in shown if isinstance(one, Quantile)]
    numbers = [one.value if isinstance(one, Quantile) else one for one in shown]
    known = [one for one in numbers if one is not None]
    if len(known) <= 1 and told:  # its own, or how many it needs
        return max(told, key=lambda one: one.value is not None)
    return over_runs(known) if known else None


def _measured(study: Study) -> list[str]:
    """The measures that are shown, and those that are needed beside."""
    line = [*study.line.of, study.line.against] if study.line else []
    beside = ["throughput"] if study.beside else []
    return list(dict.fromkeys([*study.measures, *beside, *study.alone, *line]))


def _ratio(of: str, point: Point, beside: Point | None) -> float | None:
    one, other = (at and at.values.get(of) for at in (point, beside))
    return one.value / other.value if one and one.value and other and other.value else None


def _fits(asked: Line, points: Iterable[Point]) -> Iterator[Fit]:
    """The lines through the points that can be trusted."""
    groups: dict[tuple[tuple[str, str], ...], list[Point]] = {}
    for point in points:
        if point.valid and all(point.at[axis] in map(str, on) for axis, on in asked.over.items()):
            at = {axis: label for axis, label in point.at.items() if axis not in asked.over}
            groups.setdefault(tuple(at.items()), []).append(point)
    for place, own in groups.items():
        for of in asked.of:
            told = [
                (point.cell, x, y)
                for point in own
                if (x := known(point.values[asked.against])) is not None
                and (y := known(point.values[of])) is not None
            ]
            cells, *numbers = zip(*told, strict=True) if told else ((), (), ())
            if found := line(*numbers):
                slope, intercept, r2 = found
                yield Fit(
                    measure=of,
                    against=asked.against,
                    at=dict(place),
                    cells=list(cells),
                    slope=slope,
                    intercept=intercept,
                    r2=r2,
                )
