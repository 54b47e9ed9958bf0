"""The report of a study: its tables, their pictures, where the time goes, and the runs."""

from collections.abc import Sequence
from dataclasses import replace

from bench.ledger import units
from bench.ledger.grid.found import Found
from bench.ledger.summary import Summary
from bench.report import bars, run, words
from bench.report.document import written
from bench.report.document.blocks import (
    Block,
    Chart,
    Document,
    Facts,
    Item,
    Items,
    Pairs,
    Say,
    Section,
    Table,
)
from bench.report.document.charts.lines import lines
from bench.report.study.said import doubts, facts, headline, notes
from bench.report.study.tables import Measured, labels, table, tables

MOST_SECTIONS = 12
"""Of more cells the table alone says where the time goes, and 'bench report RUN' the rest."""

FORMATS = (*written.FORMATS, "csv")


def render(found: Found, shown: Sequence[Summary], *, format: str) -> str:
    """Return it in one of the FORMATS, without a newline at its end; `shown` are the runs that
    stand for the points.
    """
    if format == "csv":
        return table(found)
    return written.written(document(found, shown), format=format, data=lambda: found)


def document(found: Found, shown: Sequence[Summary]) -> Document:
    """Return the report; `shown` are the runs that stand for the points. An axis of numbers makes
    pictures of lines, else there are bars of where the time goes.
    """
    few = len(shown) <= MOST_SECTIONS
    links = [f"run-{rank}" for rank in range(1, len(shown) + 1)] if few else []
    blocks: list[Block] = [Say(found.question), Facts(facts(found))]
    blocks.append(Items([Item(text=one, mark="warning") for one in doubts(found)]))
    if found.across:
        blocks += [_lines(found, one) for one in tables(found)]
    else:
        grouped = _grouped(found)
        blocks += [bars.latency(shown, grouped, links), bars.shares(shown, grouped, links)]
        blocks += [_table(one) for one in tables(found)]
    blocks += [Say(one, "note") for one in notes(found)]
    if few:
        blocks.append(Section(title="In words", name="words", blocks=[Pairs(where(found, shown))]))
    sections = [
        Section(title=f"run {one.run}", name=link, blocks=run.section(one, link), aside=True)
        for one, link in zip(shown, links, strict=False)
    ]
    blocks += [_runs(found), *sections]
    return Document(title=found.title, headline=headline(found), blocks=blocks)


def where(found: Found, shown: Sequence[Summary]) -> list[tuple[str, str]]:
    """Return what each point is called, and where the time of its run in `shown` goes."""
    names = [" ".join(labels(found, point)) for point in found.points]
    return list(zip(names, map(words.breakdown, shown), strict=True))


def _grouped(found: Found) -> list[tuple[str, str]]:
    """The group of bars that a point is in, and what it is called there: by the last two axes."""
    names = [labels(found, point) for point in found.points]
    own = max(1, min(2, len(found.axes) - 1))
    return [(" · ".join(one[:-own]), " · ".join(one[-own:])) for one in names]


def _lines(found: Found, one: Measured) -> Chart:
    measure = one.measure or found.shown[0]
    points = [row[one.texts :] if one.measure is None else row for row in one.points]
    table = replace(_table(one), title="")
    drawn = lines(table, points, measure, across=found.across)
    return replace(drawn, title=one.title, told=True)


def _table(one: Measured) -> Table:
    return Table(
        name=one.name,
        title=one.title,
        heads=one.heads,
        rows=one.rows,
        texts=one.texts,
        doubts=one.doubts,
    )


def _runs(found: Found) -> Section:
    """All its runs with their verdicts, which a reader opens."""
    rows = [
        [
            one.run,
            one.cell,
            ", ".join(one.issues) or units.ABSENT,
            "yes" if one.valid else "INVALID",
        ]
        for one in found.runs
    ]
    doubtful = [not one.valid for one in found.runs]
    heads = ["run", "cell", "issues", "valid"]
    told = Table(name="runs", heads=heads, rows=rows, texts=4, doubts=doubtful)
    title = units.count(len(found.runs), "run")
    return Section(title=title, name="runs", blocks=[told], folded=True, aside=True)
