"""Summaries as one self-contained HTML page: inline CSS and SVG, no script, nothing external.

This module finds the words; `charts` the pictures; `templates/page.html` lays both out.
"""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

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
    return template("page.html").render(
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


def template(name: str) -> jinja2.Template:
    """Return one of `templates/`: it escapes every value and spells out control characters."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report"),
        autoescape=True,
        finalize=lambda value: units.clean(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def headline(summaries: Sequence[Summary]) -> str:
    """What the reader learns, from the runs that can be trusted."""
    if not summaries:
        return "No runs to report"
    trusted = [summary for summary in summaries if summary.valid and summary.latency_ms]
    if not trusted:
        valid = any(summary.valid for summary in summaries)
        return "No request succeeded" if valid else "INVALID: no number here can be trusted"
    shares = sorted(summary.non_inference_share or 0.0 for summary in trusted)
    low, high = units.percent(shares[0]), units.percent(shares[-1])
    if low != high:
        return f"{low} to {high} of the time a request takes is not inference"
    if len(trusted) == 1 and trusted[0].latency_ms:
        mean = units.number(trusted[0].latency_ms.mean)
        return f"{low} of the {mean} ms a request takes is not inference"
    return f"{low} of the time a request takes is not inference"


def _quickest(summaries: Sequence[Summary], labels: Sequence[str]) -> list[tuple[str, str, str]]:
    """For each size of image its quickest valid run: the size, the run's label, its breakdown."""
    best: dict[str, tuple[float, str, str]] = {}
    for summary, label in zip(summaries, labels, strict=True):
        if summary.valid and summary.latency_ms is not None:
            entry = (summary.latency_ms.mean, label, words.breakdown(summary))
            best[summary.images] = min(best.get(summary.images, entry), entry)
    return [(images, label, text) for images, (_, label, text) in best.items()]


def _settings(summary: Summary) -> dict[str, str]:
    """The settings by name; empty is what does not apply."""
    return {
        "pipeline": summary.pipeline,
        "preprocess": summary.preprocess,
        "place": summary.place,
        "transport": summary.transport,
        "topology": summary.topology or "",
        "crops": summary.crops or "",
        "users": units.count(summary.users, "user"),
        "duration": units.duration(summary.duration_s),
    }


def _differing(summaries: Sequence[Summary]) -> list[str]:
    """The settings that are not the same in all runs."""
    rows = [_settings(summary) for summary in summaries]
    return [name for name in rows[0] if len({row[name] for row in rows}) > 1] if rows else []


def _labels(summaries: Sequence[Summary]) -> list[str]:
    """A name for each run: the settings that differ, and the run's own name where they do not."""
    names = [name for name in _differing(summaries) if name != "duration"]
    labels = [" · ".join(filter(None, map(_settings(summary).get, names))) for summary in summaries]
    keys = [(summary.images, label) for summary, label in zip(summaries, labels, strict=True)]
    return [
        key[1] if key[1] and keys.count(key) == 1 else " · ".join(filter(None, [key[1], s.run]))
        for s, key in zip(summaries, keys, strict=True)
    ]


def _shared(summaries: Sequence[Summary]) -> list[str]:
    """The settings and the machine that all runs share, as phrases."""
    if not summaries:
        return []
    differing = _differing(summaries)
    phrased = [
        value if name in ("users", "duration") else f"{name} {value}"
        for name, value in _settings(summaries[0]).items()
        if value and name not in differing
    ]
    machines = {summary.machine for summary in summaries}
    together = len(machines) == 1
    return [*phrased, *machines] if together else [*phrased, f"{len(machines)} different machines"]


def _facts(summary: Summary) -> list[tuple[str, str]]:
    """A run's settings, outcome and machine, by name."""
    facts = {
        "images": summary.images,
        **_settings(summary),
        "users": f"{summary.users}",
        "requests": f"{summary.requests:,}",
        "errors": f"{summary.errors:,}",
        "throughput": f"{units.number(summary.throughput_per_s)} requests/s",
        "generator CPU": words.of_a_core(summary.generator_cpu_share),
        "server CPU": words.of_a_core(summary.server_cpu_share),
        "workers' CPU": words.of_a_core(summary.worker_cpu_share) if summary.workers else "",
        "broker CPU": words.of_a_core(summary.broker_cpu_share) if summary.workers else "",
        "machine": summary.machine,
    }
    if latency := summary.latency_ms:
        quantiles = (latency.p50, latency.p90, latency.p95, latency.p99, latency.max)
        facts["latency (ms)"] = "p50 {} · p90 {} · p95 {} · p99 {} · max {}".format(
            *map(units.number, quantiles)
        )
    return [(name, value) for name, value in facts.items() if value]
