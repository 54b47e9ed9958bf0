"""`bench selfcheck scale`: how long, and in how much memory, the analysis takes a large run."""

import csv
import itertools
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec

from bench.record import records, scenario
from bench.record.trace import EVENTS, KEYS
from pipelines.spans import Call, Request, Span

PREPROCESS = "preprocess_classification_opencv"
MODEL, ENSEMBLE = "mobilenetv2", "classification_opencv"

# A request passes the instants 0 to 31; the server has it from 4 to 27.
_SPANS = (
    *(("schedule", "generator", 0), ("encode", "client", 1)),
    *(("parse", "client", 29), ("postprocess", "client", 30)),
    *(("queue", PREPROCESS, 9), ("input", PREPROCESS, 10), ("decode", PREPROCESS, 11)),
    *(("resize", PREPROCESS, 12), ("normalize", PREPROCESS, 13), ("queue", PREPROCESS, 14)),
)
_EXECUTIONS = {
    ENSEMBLE: {"HTTP_RECV_END": 3, "REQUEST_START": 4, "HTTP_SEND_START": 27},
    PREPROCESS: dict(zip(EVENTS[4:10], (5, 6, 7, 8, 17, 18), strict=True)),
    MODEL: dict(zip(EVENTS[4:10], (18, 19, 20, 21, 24, 26), strict=True)),
}


def write_run(folder: Path, *, requests: int, seed: int = 1) -> None:
    """Write a run with made-up times, in the shape of `bench run classification` over HTTP."""
    chance = random.Random(seed)
    start_ns = 10**12
    encoder = msgspec.json.Encoder()
    with (
        (folder / "requests-1.jsonl").open("wb") as lines,
        (folder / records.TRACE).open("w", newline="") as trace,
    ):
        rows = csv.writer(trace, lineterminator="\n")
        rows.writerow([*KEYS, *EVENTS])
        for number in range(requests):
            steps = (chance.randrange(50_000, 500_000) for _ in range(31))
            times = list(itertools.accumulate(steps, initial=start_ns + number * 1_000_000))
            lines.write(encoder.encode(_request(number, times)) + b"\n")
            rows.writerows(_trace_rows(number, times))
    manifest = records.Manifest(
        schema=records.SCHEMA,
        run=folder.name,
        settings=scenario.Settings(),
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
    records.write_manifest(folder, manifest)


def _request(number: int, times: list[int]) -> Request:
    return Request(
        id=f"made-up-{number}",
        pipeline="classification",
        due_ns=times[0],
        start_ns=times[1],
        end_ns=times[31],
        error=None,
        bytes_in=100_000,
        bytes_out=4_000,
        spans=[Span(stage, times[at], times[at + 1], where) for stage, where, at in _SPANS],
        calls=[Call(f"made-up-{number}", times[2], times[29])],
    )


def _trace_rows(number: int, times: list[int]) -> list[list[object]]:
    first = 3 * number + 1
    return [
        [f"made-up-{number}", model, first + index, first if index else 0]
        + [times[at[event]] if event in at else 0 for event in EVENTS]
        for index, (model, at) in enumerate(_EXECUTIONS.items())
    ]


@click.command()
@click.option("--requests", type=click.IntRange(1), default=200_000, help="How many.")
def command(requests: int) -> None:
    """Measure how long `bench report` takes a run of many requests, and how much memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "scale"
        folder.mkdir()
        click.echo(f"writing {requests:,} requests ...", err=True)
        write_run(folder, requests=requests)
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
