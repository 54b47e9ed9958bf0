"""A document as one self-contained HTML page: inline CSS and SVG, no script, nothing external."""

import base64
import csv
import io
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any

from bench.ledger import units
from bench.report.document.blocks import Bar, Bars, Block, Chart, Document, Section, Segment, Table
from bench.report.document.charts import colours, drawing


def write(document: Document) -> str:
    """Return it; every value in it is escaped, and control characters are spelt out."""
    import jinja2  # here: text needs none

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report.document"),
        autoescape=True,
        finalize=lambda value: units.clean(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    told = (_kept, _kind, _csv, _css, _places, _groups, _pictures)
    environment.filters |= {one.__name__.removeprefix("_"): one for one in told}
    page = environment.get_template("page.html")
    return str(page.render(document=document, cards=_cards(document.blocks), stages=_colours()))


def _cards(blocks: Sequence[Block]) -> list[list[Block]]:
    """What stands together: what is a card by itself, and what there is between such."""
    found = list[list[Block]]()
    for titled, some in groupby(blocks, lambda one: isinstance(one, Section | Bars | Chart)):
        together = list(some)
        found += [[one] for one in together] if titled else [together]
    return found


def _colours() -> dict[str, tuple[str, str]]:
    """The colour of each stage that has a hue, and that of words on it."""
    names = [name for name in colours.STAGES if colours.stage(name) != colours.DNN]
    return {name: (colours.stage(name), colours.on(name)) for name in [*names, "unknown"]}


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


def _kept(text: str) -> str:
    """Text in which a number and its percent stay on one line."""
    return text.replace(" %", "\xa0%")


def _groups(bars: Sequence[Bar]) -> list[tuple[str, list[Bar]]]:
    return [(name, list(some)) for name, some in groupby(bars, lambda bar: bar.group)]


def _places(segments: Sequence[Segment]) -> list[tuple[float, Segment]]:
    """Each segment with where it begins, in percent."""
    starts = accumulate((one.width for one in segments), initial=0.0)
    return [(round(start, 4), one) for start, one in zip(starts, segments, strict=False)]


def _css(stage: str) -> str:
    """The class that colours a stage; a word that the ledger does not know gets one of its own."""
    return f"s-{stage}" if stage in colours.STAGES else "s-unknown"


def _csv(table: Table) -> str:
    """A link's address that holds the table as CSV."""
    written = io.StringIO()
    out = csv.writer(written, lineterminator="\n")
    out.writerows([[units.clean(cell) for cell in row] for row in (table.heads, *table.rows)])
    data = written.getvalue().encode(errors="backslashreplace")
    return f"data:text/csv;base64,{base64.b64encode(data).decode()}"


def _pictures(chart: Chart) -> list[tuple[str, Any]]:
    """The chart as SVG for each width of screen, by the class of that."""
    import markupsafe

    return [
        (name, markupsafe.Markup(drawing.svg(chart, width)))
        for name, width in (("wide", drawing.WIDE), ("narrow", drawing.NARROW))
    ]
