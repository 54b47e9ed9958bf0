"""What a server counted itself: the means of each model as a table."""

from bench.ledger import units
from bench.ledger.models import COUNTERS, ModelTable, ModelTimes
from bench.report.document.blocks import Document, Say, Table

HEADS = (
    *("model", "stage", "requests", "errors", "batch"),
    *(*COUNTERS, "other", "total", "total s"),
)
_PLAIN = {"errors": {"0"}, "batch": {"1.00", units.ABSENT}}
"""Columns that are left out where they say no more than this."""

COUNTED = "By the server's own counters: means of each model, in ms a request"
_SAID = "Means of each model, in ms a request; computing is of its stage"


def document(counted: ModelTable) -> Document:
    """Return the report of a server's counters alone."""
    said = [Say(one, "note") for one in notes(counted)]
    return Document(title=_SAID, headline="", blocks=[table(counted), *said])


def table(counted: ModelTable) -> Table:
    """Return the means of each model as a table."""
    heads, rows = cells(counted)
    return Table(name="counters", heads=heads, rows=rows, texts=2)


def _row(times: ModelTimes) -> list[str]:
    batch = times.items / times.executions if times.executions else None
    parts = [getattr(times, f"{column}_ms") for column in (*COUNTERS, "other", "total")]
    return [
        units.clean(times.model),
        times.stage,
        f"{times.requests:,}",
        f"{times.errors:,}",
        units.number(batch),
        *map(units.number, (*parts, times.total_s)),
    ]


def cells(table: ModelTable) -> tuple[list[str], list[list[str]]]:
    """Return the heads and rows, without the columns that say nothing."""
    rows = [_row(one) for one in table.models]
    columns = [
        (head, column)
        for head, column in zip(HEADS, zip(*rows, strict=True), strict=True)
        if set(column) - _PLAIN.get(head, set())
    ]
    heads = [head for head, _ in columns]
    return heads, [list(row) for row in zip(*(column for _, column in columns), strict=True)]


def notes(table: ModelTable) -> list[str]:
    """Say what stands below the table: of each model that batched how many executions there were of
    which size, and its notes.
    """
    batches = [
        f"batches of {units.clean(one.model)}: "
        + ", ".join(f"{count:,} of {size}" for size, count in one.batches.items())
        for one in table.models
        if one.batches.keys() - {1}
    ]
    return [*batches, *map(units.clean, table.notes)]
