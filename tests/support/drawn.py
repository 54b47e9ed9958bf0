"""What pictures are made of, made up: a run, a curve, a search, a study and bars."""

from pathlib import Path
from typing import Any

import msgspec
from experiments import MS, S, manifest, request, write_run
from summaries import MIX, around, summary

from bench.ledger.grid import found as grid
from bench.ledger.grid.measures import measure
from bench.predict.curve import Curve, curve_of
from bench.predict.found import Found, Row
from bench.predict.points import Measured
from bench.record.records import Crowd, Sample
from bench.report.document.blocks import Bar, Bars, Chart, Segment, Table
from bench.report.document.charts import lines
from pipelines.spans import Request

HOSTILE = "<script>alert(1)</script>&\"'\x1b[31m\u202e\n" + "x" * 300
WARM_UP_S, WINDOW_S = 2, 10
Lines = dict[str, list[Any]]


def made_up() -> list[Request]:
    """A hundred requests a second, some of which fail; every 97th is slow, each a bit more."""
    found = []
    for at in range(100 * (WARM_UP_S + WINDOW_S)):
        ms = 4 + at % 7 + 0.01 * (at % 100) + (0.31 * at if at % 97 == 0 else 0)
        stages = {"schedule": 0.5, "decode": 0.25 * ms, "inference": 0.5 * ms, "other": 0.25 * ms}
        error = "no" if at % 50 == 3 else None
        found.append(request(at, 5 * S + at * 10 * MS, stages, error=error))
    return found


def run_folder(folder: Path) -> Path:
    """A run of two load generator processes, and of a server whose second process ends early."""
    start = (5 + WARM_UP_S) * S
    made = manifest(window_start_ns=start, window_end_ns=start + WINDOW_S * S)
    write_run(folder, made, made_up())
    moments = range(5 * S, 18 * S, S // 4)
    for process in (1, 2):
        counts = [Crowd(at, (process * at // S) % 5, 3 * process * (at - 5 * S)) for at in moments]
        (folder / f"crowd-{process}.jsonl").write_bytes(_lines(counts))
    samples = []
    for at in range(5, 18):
        clock = 10**18 + at * S + (40 * S if at >= 12 else 0)
        samples.append(Sample(at * S, "machine", 0, 1.5 * at, steal_s=0.1 * at, unix_ns=clock))
        samples.append(Sample(at * S, "server", 7, 0.5 * at, 100 << 20))
        if at < 13:
            samples.append(Sample(at * S, "server", 8, 0.25 * at, 50 << 20))
    (folder / "samples.jsonl").write_bytes(_lines(samples))
    return folder


def _lines(things: list[Any]) -> bytes:
    return b"".join(msgspec.json.encode(one) + b"\n" for one in things)


def a_table(name: str) -> Table:
    return Table(name=name, heads=["a"], rows=[["1"]])


def a_curve() -> Curve:
    """One over rates, of which the last runs cannot be trusted."""
    runs = [
        Measured(
            rate,
            summary(
                run=f"r{rate:g}",
                throughput_per_s=min(rate, 200.0),
                offered_per_s=rate,
                valid=rate < 300,
            ),
            {},
        )
        for rate in (40.0, 80.0, 120.0, 160.0, 190.0, 240.0, 280.0, 320.0)
    ]
    return curve_of(runs, sweep="rate", settings={}, duration_s=10.0)


def a_search() -> Found:
    probes = [
        Row(
            rate=rate,
            held=held,
            broke=None if held else "p99",
            run="r",
            valid=True,
            issues=[],
            duration_s=5.0,
            requests=1000,
            throughput_per_s=rate,
            good_per_s=rate,
            failed=0.0,
            late={},
            quantiles={"p99": around(ms)},
        )
        for rate, held, ms in ((40.0, True, 20.0), (90.0, None, 48.0), (150.0, False, 400.0))
    ]
    numbers = dict.fromkeys(("goodput_per_s", "megapixels_per_s", "images_per_core_s"), None)
    return Found(
        schema=1,
        pipeline=HOSTILE,
        settings={},
        machine="m",
        limits_ms={"p99": 50.0},
        max_error=0.001,
        ended="found",
        rate=92.0,
        low=85.0,
        high=99.0,
        best=0,
        breaks=None,
        most_per_s=200.0,
        floor=1.0,
        ceiling=800.0,
        probes=probes,
        **numbers,
    )


def a_study(names: list[str]) -> Chart:
    places = [1, 5, 9, 25]
    points = [
        [
            grid.Point(
                cell="c",
                at={},
                runs=[],
                valid=place != 9,
                beside="",
                values={"throughput": around(100.0 / place + at)},
                of_beside=None,
                shown="",
                stages_ms={},
            )
            for at, _ in enumerate(names)
        ]
        for place in places
    ]
    rows = [[str(place), *("" for _ in names)] for place in places]
    table = Table(name="study", heads=["faces", *names], rows=rows, title="Throughput")
    return lines.lines(table, points, measure("throughput"), across="faces")


def some_bars() -> Bars:
    total = sum(MIX.values())
    parts = [
        Segment(stage=name, width=60 * ms / total, tip=f"{name} {ms}", label="9 %")
        for name, ms in MIX.items()
    ]
    odd = [Segment(stage=HOSTILE, width=50.0, tip=HOSTILE, label=HOSTILE)]
    return Bars(
        name="bars",
        title=HOSTILE,
        stages=[],
        said=HOSTILE,
        ticks=[(0.0, "0"), (50.0, "5"), (100.0, "10 ms")],
        bars=[
            Bar(label="opencv", total="7 ms", said="it", segments=parts, group=HOSTILE),
            Bar(label=HOSTILE, total=HOSTILE, said=HOSTILE, segments=odd, valid=False),
            Bar(label="none", total="failed", said="", segments=[]),
        ],
    )
