"""Summaries as one self-contained HTML page: inline CSS and SVG, no script, nothing external.

This module finds the words; `charts` the pictures; `templates/page.html` lays both out.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from bench.ledger import units
from bench.ledger.summary import Summary
from bench.report import charts, words
from pipelines.spans import OTHER, STAGES


def render_html(summaries: list[Summary]) -> str:
    """The page; every value in it is escaped, and control characters are spelt out."""
    labels = _labels(summaries)
    stages = charts.stages_of(summaries)
    meanings = {stage.name: stage.meaning for stage in STAGES.values()}
    meanings[OTHER] = "no span covers it: what is left"
    return fill(
        "page.html",
        phrases=words,
        headline=headline(summaries),
        quickest=_quickest(summaries, labels),
        shared=_shared(summaries),
        invalid=sum(not summary.valid for summary in summaries),
        summaries=summaries,
        labels=labels,
        facts=[_facts(summary) for summary in summaries],
        run_bars=[charts.run_bars(summary) for summary in summaries],
        latency=charts.latency_chart(summaries, labels),
        share=charts.share_chart(summaries, labels),
        legend=[(name, charts.css(name), meanings.get(name, "")) for name in stages],
    )


def fill(name: str, **values: Any) -> str:
    """Return one of `templates/` with its values escaped and their control characters spelt out."""
    import jinja2  # here: a table needs none

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report"),
        autoescape=True,
        finalize=lambda value: units.clean(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return str(environment.get_template(name).render(values))


def headline(summaries: Sequence[Summary]) -> str:
    """What the reader learns, from the runs that can be trusted."""
    if not summaries:
        return "No runs to report"
    trusted = [summary for summary in summaries if summary.valid and summary.latency_ms]
    if not trusted:
        valid = any(summary.valid for summary in summaries)
        return "No request succeeded" if valid else "INVALID: no number here can be trusted"
    taken = span([summary.non_inference_share or 0.0 for summary in trusted])
    latency = trusted[0].latency_ms
    alone = f"{units.number(latency.mean)} ms" if latency and len(trusted) == 1 else "time"
    return f"{taken} of the {alone} a request takes is not inference"


def span(shares: Iterable[float]) -> str:
    """`5.0 %`, or `5.0 % to 25.0 %`, of the least and the largest."""
    ordered = sorted(shares)
    return " to ".join(dict.fromkeys(map(units.percent, (ordered[0], ordered[-1]))))


def _quickest(summaries: Sequence[Summary], labels: Sequence[str]) -> list[tuple[str, str, str]]:
    """For each size of image its quickest valid run: the size, the run's label, its breakdown."""
    best: dict[str, tuple[float, str, str]] = {}
    for summary, label in zip(summaries, labels, strict=True):
        if summary.valid and summary.latency_ms is not None:
            entry = (summary.latency_ms.mean, label, words.breakdown(summary))
            best[summary.images] = min(best.get(summary.images, entry), entry)
    return [(images, label, text) for images, (_, label, text) in best.items()]


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
    if not summaries:
        return []
    differing, machines = _differing(summaries), {summary.machine for summary in summaries}
    alike = {n: text for n, text in _settings(summaries[0]).items() if n not in differing}
    where = machines if len(machines) == 1 else [f"{len(machines)} different machines"]
    return [*units.phrases(alike), *where]


def _facts(summary: Summary) -> list[tuple[str, str]]:
    """A run's settings, outcome and machine, by name."""
    facts = {
        "images": summary.images,
        **_settings(summary),
        "users": f"{summary.users}",
        "requests": f"{summary.requests:,}",
        "errors": f"{summary.errors:,}",
        "throughput": f"{units.number(summary.throughput_per_s)} requests/s",
        **words.cpu(summary),
        "machine": summary.machine,
    }
    if latency := summary.latency_ms:
        quantiles = (latency.p50, latency.p90, latency.p95, latency.p99, latency.max)
        facts["latency (ms)"] = "p50 {} · p90 {} · p95 {} · p99 {} · max {}".format(
            *map(units.number, quantiles)
        )
    return list(facts.items())
