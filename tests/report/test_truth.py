"""A stranger recomputes every number of a page from the files of its run, in a few lines.

Nothing of the ledger is used here: the files are read as JSON, and a request's time is divided by
asking at each of its instants which of its spans counts most.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments import MS, S, manifest, write_run
from pages import Elements

from bench.ledger.details.examples import details
from bench.ledger.reading import read
from bench.record.records import Sample
from bench.report import run
from pipelines.spans import Request, Span

MOST_FIRST = ("inference", "decode", "queue", "send", "encode", "schedule", "other")
"""What an instant belongs to where several spans cover it."""

SAID = {0.0, 1.0, 2.0, 5.0, 10.0, 24.0, 95.0, 500.0, 5_000.0, 50_000.0}
"""Numbers of sentences and settings: the slowest 1 %, 2 cores, 24 GiB, an interval of 95 %, what a
quantile needs.
"""


def some(count: int) -> list[Request]:
    """Requests of two users, whose spans overlap, and of which every 50th fails."""
    chance, due, made = np.random.default_rng(7), 10 * S, list[Request]()
    for number in range(count):
        at = due
        spans = []
        for stage, ms in (("schedule", 0.2), ("encode", 0.5), ("send", 1.5), ("queue", 6.0)):
            took = int(MS * ms * (1 + chance.pareto(4)))
            spans.append(Span(stage, at, at + took, "x"))
            at += took
        for stage in ("decode", "inference"):  # they begin before the last has ended
            took = int(MS * chance.uniform(4, 9))
            at -= int(0.1 * took)
            spans.append(Span(stage, at, at + took, "x", items=2))
            at += took
        end = at + int(MS * chance.uniform(0.1, 0.4))
        error = "refused" if number % 50 == 49 else None
        made.append(
            Request(f"r{number}", "classification", due, due, end, error, 9000, 400, spans, [])
        )
        due += (end - due) // 2
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = some(1500)
    start, end = 10 * S, made[-1].due_ns + 1
    folder = tmp_path_factory.mktemp("truth") / "a-run"
    write_run(folder, manifest("a-run", window_start_ns=start, window_end_ns=end), made)
    moments = range(10 * S, end, S)
    samples = [Sample(at, "server", 7, 1.25 * at / S, 100 << 20) for at in moments]
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in map(_plain, samples))
    (folder / "samples.jsonl").write_bytes(lines)
    return folder


def _plain(one: Sample) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__[:5]}


def recorded(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "requests-1.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def divided(one: dict[str, Any]) -> dict[str, float]:
    """The milliseconds of each stage of a request."""
    due, end = int(one["due_ns"]), int(one["end_ns"])
    spans = [(span[0], max(span[1], due), min(span[2], end)) for span in one["spans"]]
    bounds = sorted({due, end, *(moment for _, *ends in spans for moment in ends)})
    found = dict.fromkeys(MOST_FIRST, 0.0)
    for start, stop in itertools.pairwise(bounds):
        covering = {stage for stage, first, last in spans if first <= start and stop <= last}
        found[min(covering or {"other"}, key=MOST_FIRST.index)] += (stop - start) / MS
    return found


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    found = read(folder)
    one = found.summary()
    return run.render([one], format="html", details={one.run: details(found)})


@pytest.fixture(scope="module")
def answered(folder: Path) -> list[dict[str, Any]]:
    return [one for one in recorded(folder) if one["error"] is None]


def numbers(text: str) -> list[tuple[float, float]]:
    """Each number in it, and half of its last digit."""
    found = re.findall(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?![\w.]*\w)", text)
    bare = [one.replace(",", "") for one in found]
    return [(float(one), 0.5 * 10.0 ** -len(one.partition(".")[2])) for one in bare]


def is_one_of(told: tuple[float, float], known: Iterable[float]) -> bool:
    value, half = told
    return any(abs(value - one) <= half * 1.0001 for one in known)


def interval(values: Iterable[float], part: float) -> list[float]:
    """A quantile, and the order statistics between which it is by 95 %: how many values are below
    it is binomial.
    """
    ordered = sorted(values)
    count = len(ordered)
    chances = [
        math.exp(
            math.lgamma(count + 1)
            - math.lgamma(k + 1)
            - math.lgamma(count - k + 1)
            + k * math.log(part)
            + (count - k) * math.log1p(-part)
        )
        for k in range(count)
    ]
    below = [*itertools.accumulate(chances)]
    low = max([1, *(k for k in range(1, count + 1) if below[k - 1] <= 0.025)])
    high = min([count, *(k for k in range(1, count + 1) if below[k - 1] >= 0.975)])
    return [float(np.quantile(ordered, part)), ordered[low - 1], ordered[high - 1]]


def stage_rows(some: list[dict[str, float]], parts: Iterable[float]) -> dict[str, list[float]]:
    """By stage: its mean, its quantiles where they are told, and its share in percent."""
    whole = sum(sum(one.values()) for one in some)
    rows = {}
    for stage in MOST_FIRST:
        values = [one[stage] for one in some]
        told = [
            one for part in parts if len(some) * (1 - part) >= 5 for one in interval(values, part)
        ]
        rows[stage] = [sum(values) / len(some), *told, 100 * sum(values) / whole]
    return rows


def work_ms(some: list[dict[str, Any]], stage: str) -> float:
    spans = [span for one in some for span in one["spans"] if span[0] == stage]
    return sum((span[2] - span[1]) / MS / span[4] for span in spans) / len(some)


def check_stages(
    cells: list[str], some: list[dict[str, Any]], known: dict[str, list[float]]
) -> None:
    width = cells.index("schedule")
    rows = [cells[at : at + width] for at in range(width, len(cells), width)]
    assert {row[0] for row in rows} == {stage for stage, row in known.items() if row[0]}
    for stage, *row in rows:
        told = [one for cell in row if not cell.startswith("too few") for one in numbers(cell)]
        expected = known[stage]
        other = stage == "other"
        expected = [*expected, expected[0] if other else work_ms(some, stage)]
        for one, value in zip(told, expected, strict=False):
            assert is_one_of(one, [value]), (stage, row, expected)


def test_where_the_time_went(page: str, answered: list[dict[str, Any]]) -> None:
    tables = Elements(page).tables
    ordered = sorted(answered, key=lambda one: one["end_ns"] - one["due_ns"])
    slowest = ordered[-max(1, math.ceil(len(ordered) / 100)) :]
    every, tail = [*map(divided, answered)], [*map(divided, slowest)]
    check_stages(tables["stages"], answered, stage_rows(every, (0.5, 0.99)))
    check_stages(tables["tail"], slowest, stage_rows(tail, (0.5,)))


def test_every_other_number_of_the_page(
    page: str, answered: list[dict[str, Any]], folder: Path
) -> None:
    text = re.sub(r"<(style|table|text|title)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    told, known = numbers(text), {*of_all(folder), *of_answered(answered), *SAID}
    assert len(told) > 30
    assert [one for one in told if not is_one_of(one, known)] == []


def of_all(folder: Path) -> set[float]:
    """What there is to say of the run: how long it was, and how much came of it."""
    made = json.loads((folder / "manifest.json").read_text())
    window_s = (made["window_end_ns"] - made["window_start_ns"]) / 1e9
    every = recorded(folder)
    failed = sum(one["error"] is not None for one in every)
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    first, last = samples[0], samples[-1]
    cores = (last["cpu_s"] - first["cpu_s"]) / ((last["time_ns"] - first["time_ns"]) / 1e9)
    end = made["window_end_ns"]
    done = sum(one["error"] is None and one["end_ns"] < end for one in every)
    return {window_s, len(every), failed, done / window_s, 100 * cores}


def of_answered(answered: list[dict[str, Any]]) -> set[float]:
    """What there is to say of the requests that succeeded, and of the slowest of them."""
    ordered = sorted(answered, key=lambda one: one["end_ns"] - one["due_ns"])
    known = {100.0 - 100 * divided_share(answered, "inference"), float(len(answered))}
    for some in (ordered, ordered[-math.ceil(len(ordered) / 100) :]):
        took = [(one["end_ns"] - one["due_ns"]) / MS for one in some]
        known |= {float(len(took)), sum(took) / len(took), max(took)}
        known |= {100 * divided_share(some, stage) for stage in MOST_FIRST}
    took = [(one["end_ns"] - one["due_ns"]) / MS for one in answered]
    return known | {one for part in (0.5, 0.9, 0.95, 0.99) for one in interval(took, part)}


def divided_share(some: list[dict[str, Any]], stage: str) -> float:
    parts = [*map(divided, some)]
    return sum(one[stage] for one in parts) / sum(sum(one.values()) for one in parts)


def test_the_slowest_requests_of_the_waterfall(page: str, answered: list[dict[str, Any]]) -> None:
    cells = Elements(page).tables["run-1-requests"]
    width = cells.index("median")
    heads, *rows = [cells[at : at + width] for at in range(0, len(cells), width)]
    by_id = {one["id"]: one for one in answered}
    took = {name: (one["end_ns"] - one["due_ns"]) / MS for name, one in by_id.items()}
    slowest = sorted(took, key=took.__getitem__, reverse=True)[:20]
    assert [row[1] for row in rows[1:]] == slowest
    for row in rows:
        parts = divided(by_id[row[1]]) | {"ms": took[row[1]]}
        for head, cell in zip(heads[2:], row[2:], strict=True):
            assert is_one_of(numbers(cell)[0], [parts[head]]), (row, head)


def test_each_second_of_its_course(page: str, folder: Path) -> None:
    cells = Elements(page).tables["run-1-course"]
    width = next(at for at, cell in enumerate(cells) if numbers(cell))
    heads, *rows = [cells[at : at + width] for at in range(0, len(cells), width)]
    start = json.loads((folder / "manifest.json").read_text())["window_start_ns"]
    every = recorded(folder)
    for row in rows[1:-1]:
        told = dict(zip(heads, row, strict=True))
        since = start + float(told["from s"]) * 1e9
        due = [one for one in every if since <= one["due_ns"] < since + 1e9]
        done = [one for one in every if since <= one["end_ns"] < since + 1e9]
        took = [(one["end_ns"] - one["due_ns"]) / MS for one in due if one["error"] is None]
        known = {
            "due": len(due),
            "answered": sum(one["error"] is None for one in done),
            "failed": sum(one["error"] is not None for one in due),
            "slowest": max(took),
            "median": float(np.median(took)),
            "server, cores": 1.25,
            "server, MiB": 100,
        }
        assert told.keys() - {"from s"} == known.keys()
        for head, value in known.items():
            assert is_one_of(numbers(told[head])[0], [value]), (row, head, value)
