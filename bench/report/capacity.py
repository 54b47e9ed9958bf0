"""The report of a curve, and of a search for the rate that holds an objective."""

from collections.abc import Sequence
from dataclasses import replace

from bench.ledger import units
from bench.ledger.summary import Summary
from bench.predict.curve import Curve
from bench.predict.found import Found, Row
from bench.predict.knee import Knee
from bench.predict.points import Point
from bench.predict.saturation import (
    BOUND,
    BROKER,
    GENERATOR,
    INFERENCE,
    NETWORK,
    POSTPROCESSING,
    PREPROCESSING,
    SERVER,
    TENSORS,
    Saturation,
)
from bench.predict.search import ABOVE, BELOW, SPENT
from bench.report import bars
from bench.report.document import written
from bench.report.document.blocks import DOUBT, Block, Document, Facts, Say, Table
from bench.report.document.charts import curves
from bench.report.words import INTERVALS

SHOWN = ("p50", "p95", "p99")
"""The quantiles in tables and pictures."""

_SAID = {
    PREPROCESSING: "preprocessing: decode, resize and normalize",
    INFERENCE: "inference: the DNN",
    TENSORS: "the handing of tensors from model to model",
    BROKER: "the message broker",
    NETWORK: "the network: the way to the server and back",
    GENERATOR: "the load generator itself, which is no limit of the server",
    POSTPROCESSING: "postprocessing: making answers of raw outputs",
    BOUND: "the bound of what may be under way (--users): the server itself did not get slower",
    SERVER: "the server, which does not tell on what",
}

LITTLE = (
    "by Little: throughput x mean latency, which in flight must be in a loop that is steady "
    "(Little 1961)"
)


def knee(curve: Curve) -> str:
    """One sentence about where it bends."""
    bend: Knee | None = curve.knee
    if bend is None:
        last = max(curve.points, key=lambda point: point.load)
        more = "--rates" if curve.sweep == "rate" else "--users"
        return (
            f"No knee: throughput grew to the last point, {units.number(last.throughput_per_s)} "
            f"requests/s; ask for more with {more}."
        )
    reach = units.between(bend.capacity_low, bend.capacity_high)
    most = f"{units.number(bend.capacity_per_s)} requests/s {reach}"
    if curve.sweep == "rate":
        return (
            f"The knee is at {most}: up to there what is offered comes through, and beyond it no "
            "more does."
        )
    return (
        f"The knee is at {units.number(bend.at)} users {units.between(bend.at_low, bend.at_high)}: "
        f"from there on {most} come through, and more users only wait longer."
    )


def saturates(found: Saturation | None, *, verb: str = "saturates") -> str:
    """Say in two sentences what is waited for, empty where nothing is."""
    if found is None:
        return ""
    where = f", for the model {units.clean(found.where)}" if found.where else ""
    cores = ""
    if found.busy_cores is not None and found.cores:
        cores = (
            f"; {units.number(found.busy_cores)} of {units.count(found.cores, 'core')} were busy"
        )
    return (
        f"What {verb} is {_SAID[found.resource]}{where}. Its time, with the wait for it, grew "
        f"from {units.number(found.from_ms)} to {units.number(found.to_ms)} ms a request, "
        f"{units.percent(found.share)} of what the latency grew{cores}."
    )


def loads(curve: Curve) -> Table:
    """Return what came of each load."""
    rate = curve.sweep == "rate"
    heads = ["asked/s" if rate else "users", *(["offered/s"] if rate else []), "through/s"]
    heads += ["lost", "mean ms", "queue", "gen. CPU", "server CPU", "in flight", "by Little"]
    rows = [_load_row(point, rate=rate) for point in curve.points]
    return Table(name="throughput", heads=heads, rows=rows, texts=0, doubts=_doubts(curve))


def _doubts(curve: Curve) -> list[bool]:
    return [not point.valid for point in curve.points]


def _load_row(point: Point, *, rate: bool) -> list[str]:
    return [
        _named(units.number(point.load) if rate else f"{point.load:.0f}", valid=point.valid),
        *([units.number(point.offered_per_s)] if rate else []),
        units.number(point.throughput_per_s),
        f"{point.errors + point.dropped:,}",
        units.number(point.mean_ms),
        *map(units.percent, (point.queue_share, point.generator_cpu_share, point.server_cpu_share)),
        units.number(point.in_flight),
        units.number(point.rate_x_latency),
    ]


def _named(load: str, *, valid: bool) -> str:
    return load if valid else load + DOUBT


def quantiles(curve: Curve) -> Table:
    """Return each load's quantiles with their intervals."""
    rows = [
        [
            _named(f"{point.load:g}", valid=point.valid),
            *(units.quantile(point.quantiles.get(name)) for name in SHOWN),
        ]
        for point in curve.points
    ]
    heads = ["asked/s" if curve.sweep == "rate" else "users", *SHOWN]
    return Table(name="latency", heads=heads, rows=rows, texts=0, doubts=_doubts(curve))


def _doubtful(runs: Sequence[Point] | Sequence[Row], of: str) -> list[Block]:
    """Say which issues the numbers have that are marked."""
    codes = sorted({code for one in runs if not one.valid for code in one.issues})
    said = f"{DOUBT} INVALID ({', '.join(codes)}): where a {of} is not held it must be"
    return [Say(said, "note")] if codes else []


def curve_headline(curve: Curve) -> str:
    """Return what the reader learns."""
    bend, named = curve.knee, f"The pipeline {curve.pipeline} takes"
    if bend is None:
        return f"{named} all that was asked of it"
    most = units.number(bend.capacity_per_s)
    if curve.saturates is None:
        return f"{named} {most} requests/s"
    what = "the bound in flight" if curve.saturates.resource == BOUND else curve.saturates.resource
    return f"{named} {most} requests/s, and then {what} saturates"


def of_curve(curve: Curve, summaries: Sequence[Summary]) -> Document:
    """Return the report of a curve, whose runs' `summaries` may be there."""
    facts = [*units.phrases(curve.settings), f"{units.duration(curve.duration_s)} a run"]
    blocks: list[Block] = [
        *map(Say, (knee(curve), saturates(curve.saturates))),
        Facts([*facts, units.clean(curve.machine)]),
        replace(curves.throughput(curve, loads(curve)), told=True),
        replace(curves.latency(curve, quantiles(curve)), told=True),
        curves.tradeoff(curve, replace(quantiles(curve), name="tradeoff")),
        *_doubtful(curve.points, "load"),
        Say(LITTLE, "note"),
        Say(f"latencies in ms, {INTERVALS}", "note"),
    ]
    by_run = {summary.run: summary for summary in summaries}
    if ordered := [by_run[one.run] for one in curve.points if one.run in by_run]:
        labels = [("", f"{units.number(one.load)} {curves.unit(curve)}") for one in curve.points]
        blocks.append(bars.shares(ordered, labels))
    title = f"{curve.pipeline} by {curves.unit(curve)}"
    return Document(title=title, headline=curve_headline(curve), blocks=blocks)


def render(curve: Curve, summaries: Sequence[Summary] = (), *, format: str) -> str:
    """Return it in one of the FORMATS, without a newline at its end."""
    return written.written(of_curve(curve, summaries), format=format, data=lambda: curve)


def objective(found: Found) -> str:
    """`p99 within 100 ms, and at most 0.1 % of the requests without an answer`."""
    errors = f"at most {units.percent(found.max_error)} of the requests without an answer"
    return ", and ".join([limits(found), errors])


def limits(found: Found) -> str:
    """`p95 within 50 ms, p99 within 100 ms`."""
    return ", ".join(f"{name} within {units.number(ms)} ms" for name, ms in found.limits_ms.items())


def rate(found: Found) -> list[str]:
    """Sentences about the rate: what it is, or why there is none."""
    if found.ended == BELOW:
        least = min(found.probes, key=lambda row: row.rate)
        measured = ", ".join(
            f"{name} {units.quantile(least.quantiles.get(name))}" for name in found.limits_ms
        )
        return [
            f"No rate holds {objective(found)}. At {units.number(least.rate)} requests/s, the "
            f"least at which a probe can tell, it is {measured} in ms: that is the best there is."
        ]
    if found.ended == ABOVE:
        return [
            f"{units.number(found.low)} requests/s hold {objective(found)}, and that is as far as "
            "the search goes: four times what came through of a closed loop."
        ]
    reach = units.between(found.low or 0.0, found.high or 0.0)
    said = [f"{units.number(found.rate)} requests/s {reach} hold {objective(found)}."]
    if found.ended == SPENT:
        said.append(
            "It is not known nearer: the probes were used up; say --budget 15m, or --resume."
        )
    return said


def worth(found: Found) -> str:
    """What comes of the highest rate that held, empty without one."""
    if found.best is None:
        return ""
    at = found.probes[found.best]
    parts = [f"{units.number(found.goodput_per_s)} answers/s within the limit"]
    if found.megapixels_per_s is not None:
        parts.append(f"{units.number(found.megapixels_per_s)} megapixels/s")
    if found.images_per_core_s is not None:
        parts.append(f"{units.number(found.images_per_core_s)} images/s for each core")
    return f"At {units.number(at.rate)} requests/s, the highest that held: {', '.join(parts)}."


def breaks(found: Found) -> str:
    """What breaks first beyond the rate, empty where nothing broke."""
    return saturates(found.breaks, verb="breaks first")


def probes(found: Found) -> Table:
    """Return the probes in the order in which they were made."""
    heads = ["probe", "asked/s", "through/s", "s", "requests", *found.limits_ms]
    rows = [_probe_row(found, row) for row in found.probes]
    return Table(
        name="probes",
        heads=[*heads, "late", "no answer"],
        rows=rows,
        doubts=[not row.valid for row in found.probes],
    )


def _probe_row(found: Found, row: Row) -> list[str]:
    said = {True: "held", False: f"broke {row.broke}", None: "unclear"}[row.held]
    strictest = max(row.late, key=lambda name: row.late[name][0], default=None)
    part = row.late[strictest] if strictest else None
    late = f"{units.percent(part[0])} ({_bare(part[1])} to {_bare(part[2])})" if part else ""
    return [
        said,
        _named(units.number(row.rate), valid=row.valid),
        units.number(row.throughput_per_s),
        units.number(row.duration_s),
        f"{row.requests:,}",
        *(units.quantile(row.quantiles.get(name)) for name in found.limits_ms),
        late,
        units.percent(row.failed),
    ]


def _bare(share: float) -> str:
    return units.percent(share).removesuffix(" %")


LATE = "late: the part of the requests that were slower than the limit or had no answer"


def search_headline(found: Found) -> str:
    """Return what the reader learns."""
    if found.rate is not None:
        return f"{units.number(found.rate)} requests/s hold {limits(found)}"
    if found.low is not None:
        return f"{units.number(found.low)} requests/s and more hold {limits(found)}"
    return f"No rate holds {limits(found)}"


def of_search(found: Found) -> Document:
    """Return the report of a search for the rate that holds a latency."""
    table = probes(found)
    charts = [
        curves.probes(found, name, replace(table, name=f"{name}-probes"))
        for name in found.limits_ms
    ]
    charts[0] = replace(charts[0], told=True)
    blocks: list[Block] = [
        *map(Say, (*rate(found), worth(found), breaks(found))),
        Facts([*units.phrases(found.settings), units.clean(found.machine)]),
        *charts,
        *_doubtful(found.probes, "rate"),
        Say(LATE, "note"),
        Say(f"latencies in ms, {INTERVALS}", "note"),
    ]
    title = f"rate of {found.pipeline} that holds a latency"
    return Document(title=title, headline=search_headline(found), blocks=blocks)


def render_search(found: Found, *, format: str) -> str:
    """Return it in one of the FORMATS, without a newline at its end."""
    return written.written(of_search(found), format=format, data=lambda: found)
