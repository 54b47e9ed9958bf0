"""Where the time of runs goes as stacked bars of their stages, with the tables behind them.

Bars put inference first, so that it can be compared along one edge; the tax follows in the order in
which a request passes it.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest

from bench.ledger import units
from bench.ledger.summary import StageTime, Summary
from bench.report import words
from bench.report.document.blocks import Bar, Bars, Segment, Table
from bench.report.document.charts import look
from pipelines.spans import OTHER, STAGES

_LABEL_FROM = 10.0  # percent of a bar's width below which "10 %" does not fit on a phone

Labels = Sequence[tuple[str, str]]
"""The group and the label in it of each run."""


def latency(summaries: Sequence[Summary], labels: Labels, links: Sequence[str] = ()) -> Bars:
    """Mean latencies on one scale of milliseconds."""
    sums = [sum(time.mean_ms for time in summary.stages.values()) for summary in summaries]
    marks = look.scale(max(sums, default=0.0))
    full_ms = marks[-1]
    means = [summary.latency_ms.mean if summary.latency_ms else None for summary in summaries]
    totals = [*map(units.number, means)]
    return Bars(
        name="latency",
        title="How long a request takes",
        said="Mean latency from the moment a request was due, to scale.",
        bars=_bars(summaries, labels, [f"{one} ms" for one in totals], links, full_ms=full_ms),
        stages=stages_of(summaries),
        ticks=[(100 * mark / full_ms, f"{mark:g}{' ms' * (mark == marks[-1])}") for mark in marks],
        table=_table("latency", summaries, labels, ("mean", totals), _mean),
    )


def shares(summaries: Sequence[Summary], labels: Labels, links: Sequence[str] = ()) -> Bars:
    """Shares of the latency, every bar as wide as the chart."""
    tax = [s.non_inference_share if s.latency_ms else None for s in summaries]
    totals = [*map(units.percent, tax)]
    return Bars(
        name="share",
        title="Where the time goes",
        said="Every bar is as wide as the chart. Inference comes first; all else is the tax.",
        bars=_bars(summaries, labels, [f"{one} tax" for one in totals], links),
        stages=stages_of(summaries),
        ticks=[(float(at), f"{at} %") for at in (0, 25, 50, 75, 100)],
        table=_table("share", summaries, labels, ("not inference", totals), _share),
    )


def of_run(summary: Summary, name: str) -> Bars:
    """One run's shares of the latency: over all requests and over the slowest."""
    bars = []
    if whole := summary.latency_ms:
        bars.append(_bar("all requests", summary, f"{units.number(whole.mean)} ms"))
    if summary.tail_latency_ms is not None:
        total, cause = f"{units.number(summary.tail_latency_ms)} ms", words.tail_cause(summary)
        bars.append(_bar("slowest 1 %", summary, total, stages=summary.tail_stages, said=cause))
    return Bars(name=name, bars=bars, stages=stages_of([summary]))


def _bars(
    summaries: Sequence[Summary],
    labels: Labels,
    totals: Sequence[str],
    links: Sequence[str],
    *,
    full_ms: float | None = None,
) -> list[Bar]:
    """Bars by group, in the order of the groups' first."""
    found: dict[str, list[Bar]] = {}
    for summary, (group, label), total, link in zip_longest(summaries, labels, totals, links):
        beside = total if summary.latency_ms else "failed"
        bar = _bar(label, summary, beside, full_ms=full_ms, group=group, link=link or "")
        found.setdefault(group, []).append(bar)
    return [bar for group in found.values() for bar in group]


def _bar(
    label: str,
    summary: Summary,
    total: str,
    *,
    stages: Mapping[str, StageTime] | None = None,
    said: str = "",
    full_ms: float | None = None,
    group: str = "",
    link: str = "",
) -> Bar:
    segments = _segments(summary.stages if stages is None else stages, full_ms)
    return Bar(
        label=label,
        total=total,
        said=said or words.breakdown(summary),
        segments=segments,
        valid=summary.valid,
        group=group,
        link=link,
    )


def _segments(stages: Mapping[str, StageTime], full_ms: float | None = None) -> list[Segment]:
    """Segments by share, or with `full_ms` (what the chart's width stands for) by mean."""
    found = []
    for name, time in sorted(stages.items(), key=lambda item: item[0] != "inference"):
        width = 100 * (time.share if full_ms is None else time.mean_ms / full_ms)
        label = f"{100 * time.share:.0f} %" if full_ms is None and width >= _LABEL_FROM else ""
        took = f"{units.number(time.mean_ms)} ms, {units.percent(time.share)}"
        tip = f"{words.marked(name, time)}: {took}"
        found.append(Segment(stage=name, width=round(width, 4), tip=tip, label=label))
    return found


def _mean(time: StageTime) -> str:
    return units.number(time.mean_ms)


def _share(time: StageTime) -> str:
    return units.percent(time.share)


def _table(
    name: str,
    summaries: Sequence[Summary],
    labels: Labels,
    whole: tuple[str, Sequence[str]],
    cell: Callable[[StageTime], str],
) -> Table:
    names = [stage for stage, _ in stages_of(summaries)]
    head, totals = whole
    rows = [
        [
            ", ".join(filter(None, label)),
            total,
            *(cell(one.stages[n]) if n in one.stages else units.ABSENT for n in names),
        ]
        for one, label, total in zip(summaries, labels, totals, strict=True)
    ]
    doubts = [not one.valid for one in summaries]
    return Table(name=name, heads=["run", head, *names], rows=rows, doubts=doubts)


def stages_of(summaries: Sequence[Summary]) -> list[tuple[str, str]]:
    """The stages that took time in any run, and what each is: inference, then the ledger's order,
    `other` last.
    """
    present = {name for s in summaries for name in [*s.stages, *s.tail_stages]}
    order = ["inference", *STAGES]
    rank = {name: order.index(name) for name in order} | {OTHER: len(order) + 1}
    meanings = {stage.name: stage.meaning for stage in STAGES.values()}
    meanings[OTHER] = "no span covers it: what is left"
    ordered = sorted(present, key=lambda name: (rank.get(name, len(order)), name))
    return [(name, meanings.get(name, "")) for name in ordered]
