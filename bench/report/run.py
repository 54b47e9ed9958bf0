"""The report of one or several runs."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.ledger import units
from bench.ledger.details.examples import Details
from bench.ledger.summary import Issue, Summary
from bench.report import bars, models, why, words
from bench.report.document import written
from bench.report.document.blocks import (
    Block,
    Chart,
    Document,
    Facts,
    Item,
    Items,
    Mark,
    Pairs,
    Say,
    Section,
    Table,
)
from bench.report.document.charts.course import course
from bench.report.document.charts.distribution import latency as distribution
from bench.report.document.charts.waterfall import waterfall

Known = Mapping[str, Details]
"""What pictures of each run are made of, by its name; no run has one where none is shown."""


def render(summaries: Sequence[Summary], *, format: str, details: Known | None = None) -> str:
    """Return the report of one or several runs, without a newline at its end. Raises as `written`
    does, and ResultsError when a name cannot be written as UTF-8.
    """
    made = document(summaries, details or {})
    return written.written(made, format=format, data=lambda: data(summaries))


def data(summaries: Sequence[Summary]) -> Any:
    """What their JSON holds: of one run that alone, of several a list."""
    documents = [*map(why.document, summaries)]
    return documents[0] if len(documents) == 1 else documents


def document(summaries: Sequence[Summary], details: Known) -> Document:
    """Return the report of runs, with pictures of those whose `details` are known."""
    several = len(summaries) > 1
    links = [f"run-{rank}" for rank in range(1, len(summaries) + 1)]
    blocks: list[Block] = _together(summaries, links, details) if several else []
    for rank, (summary, link) in enumerate(zip(summaries, links, strict=True), 1):
        told = section(summary, link, details.get(summary.run))
        named = f"[{rank}] {summary.run}" if several else ""
        mark: Mark = "VALID" if summary.valid else "INVALID"
        blocks.append(Section(title=named, name=link, blocks=told, mark=mark))
    if stages := bars.stages_of(summaries):
        told = [Pairs([(name, meaning) for name, meaning in stages if meaning])]
        blocks.append(Section(title="The stages", name="stages", blocks=told, aside=True))
    title = f"run {summaries[0].run}" if len(summaries) == 1 else f"{len(summaries)} runs"
    return Document(title=title, headline=headline(summaries), blocks=blocks)


def _together(summaries: Sequence[Summary], links: Sequence[str], details: Known) -> list[Block]:
    """What is said of several runs beside each other."""
    labels, blocks = _labels(summaries), list[Block]()
    if invalid := sum(not summary.valid for summary in summaries):
        said = f"{invalid} of {len(summaries)} runs INVALID: {words.CANNOT}, and why is said below"
        blocks.append(Say(f"{said}.", "alarm"))
    blocks += [Pairs(_quickest(summaries, labels)), Facts(_shared(summaries))]
    grouped = [
        (f"{one.images} images", label) for one, label in zip(summaries, labels, strict=True)
    ]
    blocks += [bars.latency(summaries, grouped, links), bars.shares(summaries, grouped, links)]
    spread = {
        f"[{rank}] {label}": known.distribution
        for rank, (one, label) in enumerate(zip(summaries, labels, strict=True), 1)
        if (known := details.get(one.run)) and known.distribution
    }
    pictures = [distribution(spread)] if len(spread) > 1 else []
    return [*blocks, *pictures, _compared(summaries, links)]


def _compared(summaries: Sequence[Summary], links: Sequence[str]) -> Section:
    rows = [
        [f"[{rank}] {summary.run}", *words.compare_row(summary)]
        for rank, summary in enumerate(summaries, 1)
    ]
    table = Table(
        name="runs",
        heads=["run", *words.COMPARE_HEADS],
        rows=rows,
        texts=5,
        doubts=[not summary.valid for summary in summaries],
        links=links,
    )
    said = Say(f"Latencies in ms, {words.INTERVALS}.", "note")
    return Section(title="All runs", name="all-runs", blocks=[table, said])


def section(summary: Summary, link: str, details: Details | None = None) -> list[Block]:
    """Return all that is told of one run: first what it comes to, and why."""
    blocks: list[Block] = [
        Facts(units.phrases(units.settings(summary))),
        Facts([*words.outcome(summary), units.clean(summary.machine)]),
        Say(words.verdict(summary), "strong" if summary.valid else "alarm"),
        Items([_issue(one) for one in summary.issues]),
        Say(words.breakdown(summary)),
        *([bars.of_run(summary, f"{link}-stages")] if summary.stages else []),
        _why(summary, link),
    ]
    accounted = _accounted(summary, link) if summary.stages else []
    return [*blocks, *accounted, *(_charts(details, link) if details else [])]


def _charts(details: Details, link: str) -> list[Chart]:
    """The pictures of one run; what it did not record has none."""
    spread, over_time = details.distribution, details.course
    charts = [
        distribution({"all requests": spread}, name=f"{link}-distribution") if spread else None,
        waterfall(details, name=f"{link}-requests"),
        course(over_time, name=f"{link}-course") if over_time else None,
    ]
    return [*filter(None, charts)]


def _accounted(summary: Summary, link: str) -> list[Block]:
    """The tables of where the time goes."""
    latency = [Say(words.latency(summary))]
    stages = Table(name="stages", heads=words.STAGE_HEADS, rows=words.stage_rows(summary))
    blocks: list[Block] = [
        Section(title=words.LATENCY, name=f"{link}-latency", blocks=latency),
        Section(title="All requests", name=f"{link}-all", blocks=[stages], beside=True),
    ]
    if summary.tail_stages:
        slowest = Table(name="tail", heads=words.TAIL_HEADS, rows=words.tail_rows(summary))
        title = f"What makes the tail ({words.tail_title(summary)})"
        told: list[Block] = [Say(words.tail_cause(summary)), slowest]
        blocks.append(Section(title=title, name=f"{link}-tail", blocks=told, beside=True))
    for rank, (title, heads, rows) in enumerate(words.mixed(summary)):
        mixed = Table(name="mix", heads=heads, rows=rows)
        blocks.append(Section(title=title, name=f"{link}-mix-{rank}", blocks=[mixed]))
    if summary.counters:
        counted: list[Block] = [models.table(summary.counters)]
        counted += [Say(note, "note") for note in models.notes(summary.counters)]
        blocks.append(Section(title=models.COUNTED, name=f"{link}-counters", blocks=counted))
    notes = ["times in ms a request", *words.footnotes(summary)]
    return [*blocks, *(Say(note, "note") for note in notes)]


def _why(summary: Summary, link: str) -> Section:
    found = [
        Item(text=one.said, code=one.code, more=f"evidence: {one.evidence}", command=one.command)
        for one in why.why(summary)
    ]
    told = Items(found, numbered=True) if found else Say(why.nothing(summary))
    return Section(title=why.TITLE, name=f"{link}-why", blocks=[told])


def _issue(issue: Issue) -> Item:
    more = f"hint: {issue.hint}" if issue.hint else ""
    mark: Mark = "INVALID" if issue.invalid else "warning"
    return Item(text=issue.message, mark=mark, code=issue.code, more=more)


def headline(summaries: Sequence[Summary]) -> str:
    """What the reader learns, from the runs that can be trusted."""
    if not summaries:
        return "No runs to report"
    trusted = [summary for summary in summaries if summary.valid and summary.latency_ms]
    if not trusted:
        valid = any(summary.valid for summary in summaries)
        return "No request succeeded" if valid else "INVALID: no number here can be trusted"
    shares = [one.non_inference_share for one in trusted if one.non_inference_share is not None]
    if not shares:
        latency = trusted[0].latency_ms
        mean_ms = units.number(latency.mean if latency else None)
        return f"A request takes {mean_ms} ms; {words.by_counters(trusted[0])}"
    taken = span(shares)
    latency = trusted[0].latency_ms
    alone = f"{units.number(latency.mean)} ms" if latency and len(trusted) == 1 else "time"
    return f"{taken} of the {alone} a request takes is not inference"


def span(shares: Iterable[float]) -> str:
    """`5.0 %`, or `5.0 % to 25.0 %`, of the least and the largest."""
    ordered = sorted(shares)
    return " to ".join(dict.fromkeys(map(units.percent, (ordered[0], ordered[-1]))))


def _quickest(summaries: Sequence[Summary], labels: Sequence[str]) -> list[tuple[str, str]]:
    """For each size of image the quickest valid run: its label, and its breakdown."""
    best: dict[str, tuple[float, str, str]] = {}
    for summary, label in zip(summaries, labels, strict=True):
        if summary.valid and summary.latency_ms is not None:
            entry = (summary.latency_ms.mean, label, words.breakdown(summary))
            best[summary.images] = min(best.get(summary.images, entry), entry)
    return [(f"{images} images, at best {label}", t) for images, (_, label, t) in best.items()]


def _settings(summary: Summary) -> dict[str, str]:
    """The settings by name but the images, by which the page groups the runs."""
    return {name: text for name, text in units.settings(summary).items() if name != "images"}


def _differing(summaries: Sequence[Summary]) -> list[str]:
    """The settings that are not the same in all runs."""
    rows = [_settings(summary) for summary in summaries]
    names = dict.fromkeys(itertools.chain(*rows))
    return [name for name in names if len({row.get(name) for row in rows}) > 1]


def _labels(summaries: Sequence[Summary]) -> list[str]:
    """A name for each run: the settings that differ, and the run's own name where they do not."""
    names = [name for name in _differing(summaries) if name != "duration"]
    labels = [" · ".join(filter(None, map(_settings(one).get, names))) for one in summaries]
    keys = [(one.images, label) for one, label in zip(summaries, labels, strict=True)]
    return [
        label
        if label and keys.count((one.images, label)) == 1
        else f"{label} · {one.run}".removeprefix(" · ")
        for one, label in zip(summaries, labels, strict=True)
    ]


def _shared(summaries: Sequence[Summary]) -> list[str]:
    """The settings and the machine that all runs share, as phrases."""
    differing, machines = _differing(summaries), {summary.machine for summary in summaries}
    alike = {n: text for n, text in _settings(summaries[0]).items() if n not in differing}
    where = machines if len(machines) == 1 else [f"{len(machines)} different machines"]
    return [*units.phrases(alike), *where]
