"""`bench selfcheck scale`: how long, and in how much memory, the analysis takes a large run."""

from __future__ import annotations

import csv
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
            times = [start_ns + number * 1_000_000]
            for _ in range(31):
                times.append(times[-1] + chance.randrange(50_000, 500_000))
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
    """A request through the instants 0..31; the server has it from 4 to 27."""
    client = [
        Span("schedule", times[0], times[1], "generator"),
        Span("encode", times[1], times[2], "client"),
        Span("parse", times[29], times[30], "client"),
        Span("postprocess", times[30], times[31], "client"),
    ]
    steps = ("queue", "input", "decode", "resize", "normalize", "queue")
    server = [
        Span(stage, start, end, PREPROCESS)
        for stage, start, end in zip(steps, times[9:15], times[10:16], strict=True)
    ]
    return Request(
        id=f"made-up-{number}",
        pipeline="classification",
        due_ns=times[0],
        start_ns=times[1],
        end_ns=times[31],
        error=None,
        bytes_in=100_000,
        bytes_out=4_000,
        spans=client + server,
        calls=[Call(f"made-up-{number}", times[2], times[29])],
    )


def _trace_rows(number: int, times: list[int]) -> list[list[object]]:
    executions = [
        (ENSEMBLE, 0, {"HTTP_RECV_END": 3, "REQUEST_START": 4, "HTTP_SEND_START": 27}),
        (PREPROCESS, 1, dict(zip(EVENTS[4:10], (5, 6, 7, 8, 17, 18), strict=True))),
        (MODEL, 1, dict(zip(EVENTS[4:10], (18, 19, 20, 21, 24, 26), strict=True))),
    ]
    return [
        [f"made-up-{number}", model, 3 * number + 1 + index, parent and 3 * number + 1]
        + [times[at[event]] if event in at else 0 for event in EVENTS]
        for index, (model, parent, at) in enumerate(executions)
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
