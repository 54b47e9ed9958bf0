"""`bench selfcheck scale`: how long, and in how much memory, the analysis takes a large run."""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path

import click
import msgspec
import numpy as np

from bench.record import records, scenario
from bench.record.manifest import SCHEMA, Manifest, write_manifest
from bench.record.trace import COLUMNS, EVENTS
from pipelines.spans import Call, Request, Span

AT_A_TIME = 10_000
_AT = range(4 * 10**18, 4 * 10**18 + 32)
_NUMBER, *_EXECUTIONS = range(_AT.stop, _AT.stop + 4)
"""What stands for a request's instants, its number, and those of its executions."""

PREPROCESS = "preprocess_classification_opencv"
MODEL, ENSEMBLE = "mobilenetv2", "classification_opencv"

# A request passes the instants 0 to 31; the server has it from 4 to 27.
_SPANS = (
    *(("schedule", "generator", 0, 1), ("encode", "client", 1, 2)),
    *(("parse", "client", 29, 30), ("postprocess", "client", 30, 31)),
    *(("queue", PREPROCESS, 9, 10), ("input", PREPROCESS, 10, 11)),
    *(("decode", PREPROCESS, 11, 12), ("resize", PREPROCESS, 12, 13)),
    *(("normalize", PREPROCESS, 13, 14), ("queue", PREPROCESS, 14, 15)),
)
_TRACED = (
    *(("send", "client", 2, 9), ("output", PREPROCESS, 15, 18), ("queue", MODEL, 18, 20)),
    *(("input", MODEL, 20, 21), ("inference", MODEL, 21, 24), ("output", MODEL, 24, 27)),
    ("receive", "client", 27, 29),
)
_MODELS = {
    ENSEMBLE: {"HTTP_RECV_END": 3, "REQUEST_START": 4, "HTTP_SEND_START": 27},
    PREPROCESS: dict(zip(EVENTS[4:10], (5, 6, 7, 8, 17, 18), strict=True)),
    MODEL: dict(zip(EVENTS[4:10], (18, 19, 20, 21, 24, 26), strict=True)),
}


def write_run(folder: Path, *, requests: int, transport: str = "http", seed: int = 1) -> None:
    """Write a run with made-up times, in the shape of `bench run classification`; over `fake` there
    is no server's trace, and all spans are in the requests.
    """
    settings = scenario.Settings(transport=transport)
    chance = np.random.default_rng(seed)
    start_ns = 10**12
    line = _Template(msgspec.json.encode(_request(_SPANS if settings.traced else _SPANS + _TRACED)))
    rows = _Template("\n".join(",".join(map(str, row)) for row in _trace_rows()).encode())
    table_file = folder / records.TRACE if settings.traced else Path(os.devnull)
    with (folder / "requests-1.jsonl").open("wb") as lines, table_file.open("wb") as trace:
        trace.write(",".join(COLUMNS).encode() + b"\n")
        for first in range(0, requests, AT_A_TIME):
            number = np.arange(first, min(first + AT_A_TIME, requests))[:, np.newaxis]
            steps = chance.integers(50_000, 500_000, (len(number), 31)).cumsum(axis=1)
            times = start_ns + 1_000_000 * number + np.pad(steps, ((0, 0), (1, 0)))
            table = np.hstack([times, number, 1 + 3 * number + np.arange(3)]).tolist()
            lines.writelines(map(line.filled, table))
            trace.writelines(map(rows.filled, table))
    manifest = Manifest(
        schema=SCHEMA,
        run=folder.name,
        settings=settings,
        image_sizes={},
        stages={PREPROCESS: "preprocess", MODEL: "inference"},
        machine={},
        versions={},
        sha256={},
        revision=None,
        clock={},
        window_start_ns=start_ns,
        window_end_ns=start_ns + (requests + 100) * 1_000_000,
    )
    write_manifest(folder, manifest)


class _Template:
    """Lines in which numbers from _AT[0] on stand for the columns of a table."""

    def __init__(self, lines: bytes) -> None:
        columns = [int(found) - _AT[0] for found in re.findall(rb"4\d{18}", lines)]
        self._text = re.sub(rb"4\d{18}", b"%d", lines) + b"\n"
        self._pick: Callable[[list[int]], tuple[int, ...]] = itemgetter(*columns)

    def filled(self, row: list[int]) -> bytes:
        """Return them with the numbers of a row."""
        return self._text % self._pick(row)


def _request(spans: Sequence[tuple[str, str, int, int]]) -> Request:
    return Request(
        id=f"made-up-{_NUMBER}",
        pipeline="classification",
        due_ns=_AT[0],
        start_ns=_AT[1],
        end_ns=_AT[31],
        error=None,
        bytes_in=100_000,
        bytes_out=4_000,
        spans=[Span(stage, _AT[at], _AT[to], where) for stage, where, at, to in spans],
        calls=[Call(f"made-up-{_NUMBER}", _AT[2], _AT[29])],
    )


def _trace_rows() -> Iterator[list[object]]:
    for execution, (model, at) in zip(_EXECUTIONS, _MODELS.items(), strict=True):
        parent = 0 if model == ENSEMBLE else _EXECUTIONS[0]
        stamps = [_AT[at[event]] if event in at else 0 for event in EVENTS]
        yield [f"made-up-{_NUMBER}", model, execution, parent, *stamps]


@click.command()
@click.option("--requests", type=click.IntRange(1), default=200_000, help="How many.")
@click.option(
    "--transport",
    type=click.Choice(["http", "fake"]),
    default="http",
    help="With a server's trace, or all spans in the requests.",
)
def command(requests: int, transport: str) -> None:
    """Measure how long `bench report` takes a run of many requests, and how much memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "scale"
        folder.mkdir()
        click.echo(f"writing {requests:,} requests ...", err=True)
        write_run(folder, requests=requests, transport=transport)
        size = sum(path.stat().st_size for path in folder.iterdir())
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "bench", "report", str(folder), "--format", "json"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        took_s = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    click.echo(f"{requests:,} requests, {size / 1e6:.0f} MB of results")
    click.echo(f"reported in {took_s:.1f} s with at most {peak / 1e6:.0f} MB of memory")
