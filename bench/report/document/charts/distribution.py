"""How latencies are distributed: each over the part of the requests that was quicker, so that the
tail has as much room as the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.ledger import units
from bench.ledger.details.distribution import PARTS, Distribution
from bench.ledger.quantiles import BEYOND
from bench.report.document.blocks import Chart, Table
from bench.report.document.charts import colours, look

if TYPE_CHECKING:
    import altair as alt

MOST_RUNS = len(colours.LINES)

HEIGHT = 260
LOG_FROM = 20
"""Times the median: of a longer tail the latencies are on a logarithmic axis."""


def latency(runs: Mapping[str, Distribution], *, name: str = "distribution") -> Chart:
    """Return the latencies of a run, or of several by what they are called: MOST_RUNS at most."""
    runs = dict(list(runs.items())[:MOST_RUNS])
    called = dict(zip(look.names(runs), runs.values(), strict=True))
    return Chart(
        name=name,
        title="How the latency is distributed",
        said=_said(called),
        table=_table(called, name),
        draw=partial(_draw, called),
    )


def _said(runs: Mapping[str, Distribution]) -> str:
    several = runs.values()
    middle = _ends([_middle(one) for one in several])
    most = _ends([one.latency_ms[-1] for one in several])
    only = f"{next(iter(several)).count:,} " if len(runs) == 1 else ""
    said = f"Half of the {only}requests took {' to '.join(middle)} ms or less, the slowest "
    return f"{said}{' to '.join(most)} ms. Dotted is what fewer than {BEYOND} requests say."


def _ends(values: Sequence[float]) -> list[str]:
    return list(dict.fromkeys(map(units.number, (min(values), max(values)))))


def _middle(one: Distribution) -> float:
    value = one.quantiles["p50"].value
    return one.latency_ms[len(one.latency_ms) // 2] if value is None else value


def _table(runs: Mapping[str, Distribution], name: str) -> Table:
    rows = [
        [part, *(units.quantile(one.quantiles[part]) for one in runs.values())] for part in PARTS
    ]
    rows.insert(0, ["least", *(units.number(one.latency_ms[0]) for one in runs.values())])
    rows.append(["most", *(units.number(one.latency_ms[-1]) for one in runs.values())])
    rows.append(["requests", *(f"{one.count:,}" for one in runs.values())])
    heads = ["", *(runs if len(runs) > 1 else ["ms"])]
    return Table(name=name, heads=heads, rows=rows, title="Latency in ms")


def _draw(runs: Mapping[str, Distribution], width: int) -> alt.TopLevelMixin:
    import altair as alt

    if look.narrow(width):
        runs = dict(zip(look.names(runs, most=look.SHORT), runs.values(), strict=True))
    longest = max(one.latency_ms[-1] for one in runs.values())
    log = longest > LOG_FROM * min(map(_middle, runs.values()))
    least = min(one.latency_ms[0] for one in runs.values())
    ticks = look.decades(max(least, 1e-3), longest) if log else look.scale(longest)
    y = alt.Y(
        "ms:Q",
        axis=look.downwards(values=ticks),
        scale=look.fixed(ticks, log=log),
    )
    x = alt.X("of:Q", axis=_parts(runs, width), scale=alt.Scale(type="log", nice=False))
    domain, hues = [*runs], colours.LINES[: len(runs)]
    colour = alt.Color(
        "run:N",
        scale=alt.Scale(domain=domain, range=hues),
        legend=look.key(width, domain) if len(runs) > 1 else None,
    )
    dash = alt.StrokeDash(
        "few:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [2, 3]]), legend=None
    )
    lines = (
        alt.Chart(look.rows(_points(runs, ticks[0])))
        .mark_line(strokeWidth=2, interpolate="step-after")
        .encode(
            x=x,
            y=y,
            color=colour,
            strokeDash=dash,
            detail=[alt.Detail("run:N"), alt.Detail("few:N")],
        )
    )
    told = alt.Chart(look.rows(_told(runs, width)))
    marks = [
        told.mark_rule(strokeWidth=5, opacity=0.35).encode(
            x=x, y=alt.Y("low:Q"), y2=alt.Y2("high"), color=colour
        ),
        told.mark_point(filled=True, size=50, opacity=1, stroke=colours.CARD, aria=True).encode(
            x=x, y=y, color=colour, description=alt.Description("tip:N")
        ),
        told.mark_text(align="left", dx=6, dy=13, fontSize=12, fontWeight=600).encode(
            x=x, y=y, text=alt.Text("label:N"), color=alt.value(colours.INK)
        ),
    ]
    whole = alt.layer(lines, *marks).properties(width=look.plot(width), height=HEIGHT)
    return look.dressed(whole.properties(title=look.title("latency, ms")), width)


def _parts(runs: Mapping[str, Distribution], width: int) -> alt.Axis:
    """The axis of parts: at 100 one of a hundred requests took longer, which is p99."""
    most = max(one.count for one in runs.values())
    marks = {"2": "p50", "10": "p90", "100": "p99", "1000": "p99.9"}
    marks |= {f"{10**n}": f"p99.{'9' * (n - 2)}" for n in range(4, 8)}
    shown = [one for one in map(int, marks) if one <= max(most, 2)]
    title = "percentile of the requests"
    return look.across(
        title, width, values=shown, labelExpr=f"{marks!r}[toString(datum.value)]", labelOverlap=True
    )


def _points(runs: Mapping[str, Distribution], least: float) -> list[dict[str, Any]]:
    found = []
    for name, one in runs.items():
        pairs = [*zip(one.slower, (max(ms, least) for ms in one.latency_ms), strict=True)]
        sure = [(slower, ms) for slower, ms in pairs if slower >= BEYOND]
        few = [*sure[-1:], *((slower, ms) for slower, ms in pairs if slower < BEYOND)]
        found += [_point(name, one, *pair, few=False) for pair in sure]
        found += [_point(name, one, *pair, few=True) for pair in few]
    return found


def _point(name: str, one: Distribution, slower: int, ms: float, *, few: bool) -> dict[str, Any]:
    return {"run": name, "of": one.count / slower, "ms": ms, "few": few}


def _told(runs: Mapping[str, Distribution], width: int) -> list[dict[str, Any]]:
    """The quantiles that can be told, and where there is room for it their numbers."""
    found = []
    for name, one in runs.items():
        parts = [part for part in PARTS if one.quantiles[part].value is not None]
        tails = [part for part in parts if part not in ("p50", "p90", "p95")] or parts[-1:]
        shown = ["p50", *(tails[:1] if look.narrow(width) else tails)]
        for part in parts:
            at = one.quantiles[part]
            label = f"{part} {units.number(at.value)}"
            tip = f"{f'{name}, ' if len(runs) > 1 else ''}{part}: {units.quantile(at)} ms"
            found.append(
                {"run": name, "of": 1 / (1 - PARTS[part]), "ms": at.value}
                | {"label": label if part in shown and len(runs) == 1 else ""}
                | {"low": at.low, "high": at.high, "tip": tip}
            )
    return found
