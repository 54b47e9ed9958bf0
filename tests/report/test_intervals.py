"""No quantile stands alone: each one printed has its interval, or says how many requests it needs;
and a stranger finds the same interval from the raw records.
"""

import json
import re
from fractions import Fraction
from itertools import accumulate
from math import comb
from pathlib import Path

import msgspec
import numpy as np
import pytest
from experiments import MS, manifest, request, write_run, write_steady_run
from summaries import MIX, mixed, stage_times, summary

from bench.compare.stored import Run, of_runs
from bench.ledger.quantiles import Quantile
from bench.ledger.reading import summary_of
from bench.ledger.summary import QUANTILES, Latency, Summary
from bench.ledger.units import number
from bench.record.records import Image
from bench.report import comparison, words
from bench.report.document.written import FORMATS
from bench.report.run import render

FORMATTED = [name for name in FORMATS if name != "json"]
SAID = r"(?:[\d.]+ \([\d.]+ to [\d.]+\)|too few: needs [\d,]+)"
"""How a quantile is printed, in any format."""


def drawn(folder: Path, *, requests: int = 1200) -> Path:
    """A run whose stages take times of a long tail, of images of two formats."""
    chance, due, made = np.random.default_rng(5), 0, []
    for each in range(requests):
        times = {"decode": 4 * chance.pareto(3) + 1, "inference": 9 * chance.exponential() + 5}
        made.append(request(each, due, times))
        due = made[-1].end_ns
    write_run(folder, manifest(folder.name, window_end_ns=due), made)
    images = [Image("a.jpg", "JPEG", 300, 200, 9), Image("b.png", "PNG", 640, 480, 9)]
    lines = b"".join(msgspec.json.encode(image) + b"\n" for image in images)
    (folder / "images.jsonl").write_bytes(lines)
    return folder


def recomputed(values: list[int], part: Fraction) -> str:
    """The cell, from the exact binomial distribution of how many values are below the quantile."""
    count, ordered = len(values), sorted(value / MS for value in values)
    below = [
        *accumulate(comb(count, k) * part**k * (1 - part) ** (count - k) for k in range(count))
    ]
    low = max(k for k in range(1, count + 1) if below[k - 1] <= Fraction("0.025"))
    high = min(k for k in range(1, count + 1) if below[k - 1] >= Fraction("0.975"))
    told = np.percentile(ordered, float(100 * part)), ordered[low - 1], ordered[high - 1]
    return "{} ({} to {})".format(*map(number, told))


def test_the_cells_are_those_that_the_raw_records_give(tmp_path: Path) -> None:
    folder = drawn(tmp_path / "run", requests=600)
    lines = (folder / "requests-1.jsonl").read_text().splitlines()
    taken: dict[str, list[int]] = {}
    for one in map(json.loads, lines):
        taken.setdefault("all", []).append(one["end_ns"] - one["due_ns"])
        for stage, start_ns, end_ns, *_ in one["spans"]:
            taken.setdefault(stage, []).append(end_ns - start_ns)
    p50, p99 = Fraction(1, 2), Fraction(99, 100)
    found = summary_of(folder)
    for format in FORMATTED:
        shown = " ".join(
            re.sub(r"<[^>]*>|[|\s]", " ", render([found, found], format=format)).split()
        )
        for stage in ("decode", "inference"):
            cells = [recomputed(taken[stage], part) for part in (p50, p99)]
            assert f"{stage} {number(sum(taken[stage]) / 600 / MS)} {' '.join(cells)}" in shown
        assert shown.count(recomputed(taken["all"], p99)) >= 3, "of each run and in their table"


@pytest.mark.parametrize("format", FORMATTED)
@pytest.mark.parametrize("requests", [9, 60, 1200])
def test_every_table_has_intervals_or_says_too_few(
    tmp_path: Path, requests: int, format: str
) -> None:
    found = summary_of(drawn(tmp_path / "run", requests=requests))
    rows = {
        words.COMPARE_HEADS: [words.compare_row(found)],
        words.STAGE_HEADS: words.stage_rows(found),
        words.TAIL_HEADS: words.tail_rows(found),
        **{heads: cells for _, heads, cells in words.mixed(found)},
    }
    page = re.sub(r"<[^>]*>|\|", " ", render([found, found], format=format))
    page = " ".join(page.replace("\\", "").split())
    for heads, cells in rows.items():
        assert cells
        for row in cells:
            for head, cell in zip(heads, row, strict=True):
                assert (head in QUANTILES) == bool(re.fullmatch(SAID, cell)), (head, cell)
                assert cell in page
    for name in QUANTILES:
        assert re.search(rf"{re.escape(name)} {SAID}", page)
    told = {9: "needs 10", 60: "needs 500", 1200: "needs 5,000"}
    assert told[requests] in page


def huge() -> Summary:
    """A run whose every number is long."""
    mix = {name: 123_456.7 * ms for name, ms in MIX.items()}
    at = Quantile(9_876_543.2, 1_234_567.8, 9_876_543.2, 1)
    run = summary(mix, requests=98_765_432, throughput_per_s=123_456.0, users=12_345)
    times = {
        name: msgspec.structs.replace(time, p50_ms=at, p95_ms=at, p99_ms=at)
        for name, time in stage_times(mix).items()
    }
    group = msgspec.structs.replace(mixed().mix[0], mean_ms=1e6, p50_ms=at, p99_ms=at)
    latency = Latency(mean=1e6, max=1e7, quantiles=dict.fromkeys(QUANTILES, at))
    return msgspec.structs.replace(
        run, latency_ms=latency, stages=times, tail_stages=times, mix=[group]
    )


def test_tables_of_long_numbers_fit_100_columns_and_are_whole() -> None:
    text = render([huge(), summary()], format="text")
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("9876543 (1234568 to 9876543)") >= 3 * len(MIX) + 2


def steady(folder: Path, requests: int) -> Run:
    return Run.read(
        write_steady_run(folder, {"decode": 40.0, "inference": 60.0}, requests=requests)
    )


@pytest.mark.parametrize("format", ["text", "md"])
@pytest.mark.parametrize(
    ("requests", "p99"), [(120, "too few: needs 500"), (600, "100 (100 to 100)")]
)
@pytest.mark.parametrize("runs", [1, 2, 3])
def test_compared_runs_have_the_intervals_of_their_quantiles(
    tmp_path: Path, runs: int, requests: int, p99: str, format: str
) -> None:
    sides = [[steady(tmp_path / f"{side}{n}", requests) for n in range(runs)] for side in "ab"]
    text = comparison.render(of_runs(*sides), format=format)
    rows = [" ".join(line.strip("|").replace("|", " ").split()) for line in text.splitlines()]
    assert [row for row in rows if row.startswith(f"p50 {2 * '100 (100 to 100) '}")]
    assert [row for row in rows if row.startswith(f"p99 {p99} {p99} ")]
    assert max(map(len, text.splitlines())) <= 100 or format == "md"
