"""A matrix as text, Markdown, JSON or CSV: rendering only. Text fits 100 columns."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable

import msgspec

from bench.ledger import units
from bench.ledger.matrix import ALONE, Matrix, Point, facts, label
from bench.ledger.several import INVALID, invalid
from bench.ledger.units import clean
from bench.record.files import as_json
from bench.report.formats import plain

WIDTH = 100
HEADS = (
    *("pipeline", "images", "place", "users", "images/s", "mean ms", "p99 ms"),
    *("not inference %", "of alone %"),
)
TEXTS = 3
"""So many columns at the left are words."""

LONGEST = 20
"""So many characters of a name are shown."""

NOTES = (
    "place none, images tensor: inference alone; processes of their own ask the DNN with a ready "
    "tensor, and nothing is decoded, resized or normalized",
    "of alone %: images/s over that of inference alone of the same pipeline with as many users",
    "not inference %: the part of a request's latency that is not inside the DNN",
)


def render(matrix: Matrix, *, format: str) -> str:
    """Return the matrix in one of the FORMATS, without a newline at its end."""
    return FORMATS[format](matrix)


def file_name(cpu: str, gpus: list[str]) -> str:
    """Return what a machine's results are called: its processor and GPUs, as a file may be named.

    >>> file_name("Intel(R) Xeon(R) CPU @ 2.20GHz", ["NVIDIA H100"])
    'intel-xeon-nvidia-h100'
    """
    words = " ".join([cpu.split("@")[0], *dict.fromkeys(gpus)])
    plain = re.sub(r"\((R|TM|C)\)|\b(CPU|Processor|\d+-Core)\b", " ", words, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "unknown"


def rows(matrix: Matrix) -> list[list[str]]:
    """Return each point as cells under HEADS."""
    invalid_alone = {
        (point.pipeline, point.users)
        for point in matrix.points
        if point.place == ALONE and not point.valid
    }
    return [
        _row(point, doubtful=(point.pipeline, point.users) in invalid_alone)
        for point in matrix.points
    ]


def _row(point: Point, *, doubtful: bool) -> list[str]:
    def shown(text: str, *, trusted: bool = point.valid) -> str:
        return text if trusted or text == units.ABSENT else text + INVALID

    return [
        clean(label(point.pipeline)),
        clean(point.images),
        clean(point.place),
        str(point.users),
        shown(units.number(point.images_per_s)),
        shown(units.number(point.mean_ms)),
        shown(units.number(point.p99_ms)),
        shown(_percent(point.not_inference_share)),
        shown(_percent(point.of_alone), trusted=point.valid and not doubtful),
    ]


def _percent(share: float | None) -> str:
    return units.number(None if share is None else 100 * share)


def _text(matrix: Matrix) -> str:
    cells = [[_cut(cell) for cell in row] for row in rows(matrix)]
    if any(cell.endswith(INVALID) for row in cells for cell in row):
        # Marks get a column of their own, so that the digits stay below each other.
        cells = [
            [
                cell if at <= TEXTS or cell.endswith(INVALID) else f"{cell} "
                for at, cell in enumerate(row)
            ]
            for row in cells
        ]
    widths = [max(map(len, column)) for column in zip(HEADS, *cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at < TEXTS else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [list(HEADS), ["-" * width for width in widths], *cells]
    ]
    foot = [" · ".join(map(clean, facts(matrix))), *NOTES, clean(matrix.note), invalid(matrix.runs)]
    return "\n".join([*lines, "", *(textwrap.fill(line, WIDTH) for line in foot if line)])


def _cut(cell: str) -> str:
    return cell if len(cell) <= LONGEST else f"{cell[: LONGEST - 1]}…"


def _markdown(matrix: Matrix) -> str:
    table = [list(HEADS), [":--"] * TEXTS + ["--:"] * (len(HEADS) - TEXTS), *rows(matrix)]
    lines = [
        f"| {' | '.join(map(plain, row) if at != 1 else row)} |" for at, row in enumerate(table)
    ]
    named = matrix.machine if matrix.device == "cpu" else f"{matrix.machine}, {matrix.device}"
    blocks = [f"# {plain(named)}"]
    blocks += [f"**{plain(matrix.note)}**"] if matrix.note else []
    blocks += ["\n".join(lines), " · ".join(map(plain, facts(matrix)))]
    blocks += [f"**{plain(said)}**"] if (said := invalid(matrix.runs)) else []
    blocks.append("\n".join(f"- {plain(note)}" for note in NOTES))
    return "\n\n".join(blocks)


def _csv(matrix: Matrix) -> str:
    written = io.StringIO()
    out = csv.writer(written, lineterminator="\n")
    names = [*Point.__struct_fields__]
    out.writerow(names)
    for point in matrix.points:
        values = msgspec.structs.asdict(point) | {
            "pipeline": clean(label(point.pipeline)),
            "images": clean(point.images),
            "valid": "yes" if point.valid else "INVALID",
            "folders": " ".join(map(clean, point.folders)),
        }
        out.writerow([values[name] for name in names])
    return written.getvalue().rstrip("\n")


def _json(matrix: Matrix) -> str:
    return as_json(matrix).decode()


FORMATS: dict[str, Callable[[Matrix], str]] = {
    "text": _text,
    "md": _markdown,
    "json": _json,
    "csv": _csv,
}
