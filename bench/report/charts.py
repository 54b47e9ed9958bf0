"""The page's pictures as numbers: stacked bars of stages, their scale and the table behind them.

Bars put inference first, so that it can be compared along one edge; the tax follows in the order in
which a request passes it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.ledger import units
from bench.ledger.summary import StageTime, Summary
from bench.report import words
from pipelines.spans import OTHER, STAGES

_STEPS = (1, 2, 2.5, 5, 10)
_LABEL_FROM = 10.0  # percent of a bar's width below which "10 %" does not fit on a phone


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One stage's part of a bar; `x` and `width` are percent of the chart's width."""

    stage: str
    css: str
    x: float
    width: float
    tip: str
    label: str


@dataclass(frozen=True)
class Bar:
    """A stacked bar with its total beside it; without segments where no request succeeded."""

    label: str
    total: str
    tip: str
    segments: list[Segment]
    valid: bool


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Bars by size of image, ticks as percent of the width, and the table behind them.

    A bar comes with the index of its run; the table's rows are the runs, in the order given.
    """

    groups: list[tuple[str, list[tuple[int, Bar]]]]
    ticks: list[tuple[float, str]]
    heads: list[str]
    rows: list[list[str]]


def latency_chart(summaries: Sequence[Summary], labels: Sequence[str]) -> Chart:
    """Mean latencies on one scale of milliseconds."""
    sums = [sum(time.mean_ms for time in summary.stages.values()) for summary in summaries]
    step, full_ms = scale(max(sums, default=0.0))
    marks = [i * step for i in range(round(full_ms / step) + 1)]
    means = [summary.latency_ms.mean if summary.latency_ms else None for summary in summaries]
    chart = _chart(
        *(summaries, labels, list(map(units.number, means))),
        heads=("mean", "ms"),
        cell=lambda time: units.number(time.mean_ms),
        full_ms=full_ms,
    )
    ticks = [(100 * mark / full_ms, f"{mark:g}{' ms' * (mark == marks[-1])}") for mark in marks]
    return replace(chart, ticks=ticks)


def share_chart(summaries: Sequence[Summary], labels: Sequence[str]) -> Chart:
    """Shares of the latency, every bar as wide as the chart."""
    shares = [s.non_inference_share if s.latency_ms else None for s in summaries]
    return _chart(
        *(summaries, labels, list(map(units.percent, shares))),
        heads=("not inference", "tax"),
        cell=lambda time: units.percent(time.share),
    )


def _chart(
    summaries: Sequence[Summary],
    labels: Sequence[str],
    totals: Sequence[str],
    *,
    heads: tuple[str, str],
    cell: Callable[[StageTime], str],
    full_ms: float | None = None,
) -> Chart:
    """A chart in percent; `heads` are of the totals, in the table and beside a bar."""
    names = stages_of(summaries)
    groups: dict[str, list[tuple[int, Bar]]] = {}
    rows: list[list[str]] = []
    for summary, label, total in zip(summaries, labels, totals, strict=True):
        times = summary.stages
        beside = f"{total} {heads[1]}" if summary.latency_ms else "failed"
        bar = _bar(label, summary, total=beside, full_ms=full_ms)
        groups.setdefault(summary.images, []).append((len(rows), bar))
        rows.append([total, *(cell(times[n]) if n in times else units.ABSENT for n in names)])
    ticks = [(float(at), f"{at} %") for at in (0, 25, 50, 75, 100)]
    return Chart(groups=list(groups.items()), ticks=ticks, heads=[heads[0], *names], rows=rows)


def run_bars(summary: Summary) -> list[Bar]:
    """One run's shares of the latency: over all requests and over the slowest."""
    bars = []
    if latency := summary.latency_ms:
        bars.append(_bar("all requests", summary, total=f"{units.number(latency.mean)} ms"))
    if summary.tail_latency_ms is not None:
        total = f"{units.number(summary.tail_latency_ms)} ms"
        slowest = _bar("slowest 1 %", summary, total=total, stages=summary.tail_stages)
        bars.append(replace(slowest, tip=words.tail_cause(summary)))
    return bars


def stages_of(summaries: Sequence[Summary]) -> list[str]:
    """The stages that took time in any run: inference, then the ledger's order, `other` last."""
    present = {name for s in summaries for name in [*s.stages, *s.tail_stages]}
    order = ["inference", *STAGES]
    rank = {name: order.index(name) for name in order} | {OTHER: len(order) + 1}
    return sorted(present, key=lambda name: (rank.get(name, len(order)), name))


def css(stage: str) -> str:
    """The class that colours a stage; a word that the ledger does not know gets one of its own."""
    return f"s-{stage}" if stage in STAGES or stage == OTHER else "s-unknown"


def scale(largest: float) -> tuple[float, float]:
    """A round step, and its first multiple from `largest` on: at most five steps."""
    if largest <= 0:
        return 1.0, 1.0
    unit = 10 ** math.floor(math.log10(largest / 5))
    step = next(unit * factor for factor in _STEPS if unit * factor * 5 >= largest)
    return step, step * math.ceil(largest / step)


def _bar(
    label: str,
    summary: Summary,
    *,
    total: str,
    full_ms: float | None = None,
    stages: Mapping[str, StageTime] | None = None,
) -> Bar:
    segments = _segments(summary.stages if stages is None else stages, full_ms)
    return Bar(label, total, words.breakdown(summary), segments, summary.valid)


def _segments(stages: Mapping[str, StageTime], full_ms: float | None = None) -> list[Segment]:
    """Segments by share, or with `full_ms` (what the chart's width stands for) by mean."""
    segments, x = [], 0.0
    for name, time in sorted(stages.items(), key=lambda item: item[0] != "inference"):
        width = 100 * (time.share if full_ms is None else time.mean_ms / full_ms)
        labelled = full_ms is None and width >= _LABEL_FROM
        segments.append(
            Segment(
                stage=name,
                css=css(name),
                x=round(x, 4),
                width=round(width, 4),
                tip=f"{words.marked(name, time)}: {units.number(time.mean_ms)} ms, "
                f"{units.percent(time.share)}",
                label=f"{100 * time.share:.0f} %" if labelled else "",
            )
        )
        x += width
    return segments
