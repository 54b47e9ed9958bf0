"""What happened while a run went on is found in its files, and nothing is where nothing did."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from experiments import MS, S, manifest, request, write_run

from bench.ledger.reading import summary_of
from bench.ledger.verdict.codes import CODES
from bench.ledger.verdict.steadiness import of_backlog, of_latency
from bench.record.manifest import Manifest
from bench.record.records import MACHINE, MONITOR, Crowd, Sample
from pipelines.spans import Request

WINDOW = {"window_start_ns": 2 * S, "window_end_ns": 14 * S}
BEGUN_S, UNIX_S = 2, 1_700_000_000
"""When the window begins, and what the wall clock says at the time 0."""

Course = Callable[[float], float]
"""By how much requests are slower so many seconds after the window's beginning."""


def even(_: float) -> float:
    return 1.0


def closed(course: Course = even, *, took_ms: float = 20.0, end_s: float = 15.0) -> list[Request]:
    """One user's requests of 15 s, which take that, and by chance up to a fifth less or more."""
    chance, made, at = np.random.default_rng(7), list[Request](), 0
    while at < end_s * S:
        ms = took_ms * course(at / S - BEGUN_S) * chance.uniform(0.8, 1.2)
        made.append(request(len(made), at, {"inference": ms}))
        at = made[-1].end_ns
    return made


def queued(*, per_s: float, took_ms: float = 10.0, seed: int = 3) -> list[Request]:
    """Requests that come by chance and wait in a queue for the one that serves them."""
    chance, made, free = np.random.default_rng(seed), list[Request](), 0
    for number, due in enumerate(np.cumsum(chance.exponential(1 / per_s, round(15 * per_s))) * S):
        starts = max(free, int(due))
        free = starts + round(took_ms * MS)
        stages = {"queue": (starts - int(due)) / MS, "inference": took_ms}
        made.append(request(number, int(due), stages))
    return made


def crowd(requests: list[Request]) -> Iterator[bytes]:
    """What a generator counts of them, four times a second."""
    due, end = (np.array([getattr(one, name) for one in requests]) for name in ("due_ns", "end_ns"))
    for at in range(0, 15 * S, S // 4):
        spent = int(np.maximum(np.minimum(end, at) - due, 0).sum())
        yield msgspec.json.encode(Crowd(at, int(((due <= at) & (end > at)).sum()), spent)) + b"\n"


def samples(
    *,
    generator: float = 0.2,
    server: Callable[[int], int] = lambda _: 20,
    memory: Callable[[int], int] = lambda _: 100 << 20,
    others: float = 0.05,
    steal: float = 0.0,
    unix: Callable[[int], float] = lambda at: UNIX_S + at,
) -> Iterator[Sample]:
    """One round a second of a machine with two cores: cores that each used, the server's pid and
    bytes of memory, and what the wall clock says, in s.
    """
    for at in range(16):
        used = generator + 1.0 + 0.01 + others + steal
        clock = round(unix(at) * S)
        yield Sample(at * S, MACHINE, 0, used * at, steal_s=steal * at, unix_ns=clock)
        yield Sample(at * S, MONITOR, 9, 0.01 * at, memory_bytes=1 << 20)
        yield Sample(at * S, "generator", 1, generator * at, memory_bytes=1 << 20)
        yield Sample(at * S, "server", server(at), 1.0 * at, memory_bytes=memory(at), listens=True)


def codes(
    folder: Path,
    requests: list[Request] | None = None,
    *,
    watched: Iterator[Sample] | None = None,
    made: Manifest | None = None,
    counted: list[Request] | None = None,
    **changes: Any,
) -> dict[str, bool]:
    """The issues' codes of such a run, and whether each invalidates."""
    requests = closed() if requests is None else requests
    write_run(folder, made or manifest(folder.name, **WINDOW | changes), requests)
    (folder / "crowd-1.jsonl").write_bytes(b"".join(crowd(counted or requests)))
    lines = [msgspec.json.encode(one) + b"\n" for one in watched or samples()]
    (folder / "samples.jsonl").write_bytes(b"".join(lines))
    issues = summary_of(folder).issues
    assert all(issue.message and issue.hint and issue.code in CODES for issue in issues)
    return {issue.code: issue.invalid for issue in issues}


@pytest.mark.parametrize(
    "settings", [{}, {"rate": "50/s"}, {"duration_s": 12.0}, {"duration_s": 13.0}]
)
def test_a_quiet_run_has_no_issue(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert codes(tmp_path / "run", **settings) == {}


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ({"server": lambda at: 20 if at < 8 else 21}, {"RESTARTED": True}),
        ({"unix": lambda at: UNIX_S + at + (at > 5)}, {"CLOCK_STEP": True}),
        ({"unix": lambda at: UNIX_S + at - 0.3 * (at > 5)}, {"CLOCK_STEP": True}),
        ({"unix": lambda at: UNIX_S + at * 1.0005}, {}),
        ({"steal": 0.3}, {"STEAL": False}),
        ({"steal": 1.4}, {"STEAL": True}),
        ({"others": 0.5}, {"FOREIGN": False}),
        ({"generator": 0.98}, {"GENERATOR_BUSY": False}),
        ({"memory": lambda at: (100 + 10 * at) << 20}, {"MEMORY": False}),
        ({"memory": lambda at: (100 + (at > 5) * 100) << 20}, {}),
        ({"memory": lambda at: (4000 + 10 * at) << 20}, {}),
    ],
)
def test_what_happened_around_the_load(tmp_path: Path, planted, expected) -> None:
    assert codes(tmp_path / "run", watched=samples(**planted)) == expected


def test_what_happened_before_the_window_is_past(tmp_path: Path) -> None:
    late = {"window_start_ns": 8 * S, "duration_s": 6.0}
    restarted = samples(server=lambda at: 20 if at < 5 else 21)
    assert codes(tmp_path / "server", watched=restarted, **late) == {}
    stepped = samples(unix=lambda at: UNIX_S + at + (at > 4))
    assert codes(tmp_path / "clock", watched=stepped, **late) == {}


def test_a_generator_without_time_invalidates_an_open_loop(tmp_path: Path) -> None:
    busy = samples(generator=0.98)
    assert codes(tmp_path / "run", watched=busy, rate="50/s") == {"GENERATOR_BUSY": True}


def test_what_samples_of_older_runs_do_not_say_is_not_found(tmp_path: Path) -> None:
    told = samples(others=0.6, steal=0.3, memory=lambda at: (100 + 20 * at) << 20)
    old = (Sample(one.time_ns, one.role, one.pid, one.cpu_s) for one in told)
    assert codes(tmp_path / "run", watched=old) == {}


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        (lambda at_s: 1 + at_s / 12, {"DRIFT": False}),
        (lambda at_s: 2 - at_s / 12, {"DRIFT": False}),
        (lambda at_s: 1.5 if at_s > 7 else 1.0, {"CHANGE": False}),
        (lambda at_s: 2.0 if at_s < 1.5 else 1.0, {"WARM_UP": False}),
        (lambda at_s: 1 + 2 * np.exp(-at_s / 0.7), {"WARM_UP": False}),
        (lambda at_s: 1.15 if at_s > 7 else 1.0, {}),
        (lambda at_s: 3.0 if at_s < -0.1 else 1.0, {}),
        (lambda at_s: 4.0 if 5 < at_s < 5.1 else 1.0, {}),
    ],
)
def test_a_latency_that_changes(tmp_path: Path, course: Course, expected) -> None:
    assert codes(tmp_path / "run", closed(course)) == expected


def test_a_load_that_is_meant_to_change_may(tmp_path: Path) -> None:
    rising = closed(lambda at_s: 1 + max(at_s, 0) / 12)
    for number, settings in enumerate(({"rate": "10/s..60/s in 12s"}, {"replay": "a.csv"})):
        assert codes(tmp_path / str(number), rising, **settings) == {}


def test_the_turns_of_another_are_no_change(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    rising = closed(lambda at_s: 1 + max(at_s, 0) / 12)
    made = manifest("run", **WINDOW)
    write_run(folder / "a", made, rising)
    (folder / "a" / "turns.jsonl").write_text(
        '{"time_ns":0,"running":true}\n{"time_ns":13900000000,"running":false}\n'
    )
    lines = [msgspec.json.encode(one) + b"\n" for one in samples(others=0.6)]
    (folder / "a" / "samples.jsonl").write_bytes(b"".join(lines))
    assert summary_of(folder / "a").issues == []


def test_a_queue_that_only_grows(tmp_path: Path) -> None:
    assert codes(tmp_path / "over", queued(per_s=150), rate="150/s") == {"BACKLOG": True}
    assert codes(tmp_path / "under", queued(per_s=60), rate="60/s") == {}


def test_throughput_is_of_what_was_answered_in_the_window(tmp_path: Path) -> None:
    """Also of what had been waiting since the warm-up: one server, always busy, 10 ms each."""
    folder = write_run(tmp_path / "run", manifest("run", **WINDOW), queued(per_s=200))
    assert summary_of(folder).throughput_per_s == pytest.approx(100, rel=0.01)


def test_littles_law_finds_lost_and_doubled_records(tmp_path: Path) -> None:
    made = closed()
    lost = [one for number, one in enumerate(made) if number % 20]
    assert codes(tmp_path / "lost", lost, counted=made) == {"LITTLE": True}
    few = [one for number, one in enumerate(made) if number % 100]
    assert codes(tmp_path / "few", few, counted=made) == {}
    folder = tmp_path / "doubled"
    assert codes(folder, made) == {}
    (folder / "requests-2.jsonl").write_bytes((folder / "requests-1.jsonl").read_bytes())
    summary = summary_of(folder)
    assert [issue.code for issue in summary.issues if issue.invalid] == ["LITTLE"]


def test_littles_law_holds_for_short_and_for_overloaded_runs(tmp_path: Path) -> None:
    """Where latency is long beside the window, its edges count for much."""
    for number, length_s in enumerate((0.5, 1.3, 4.0)):
        for name, made in (("slow", closed(took_ms=700)), ("over", queued(per_s=180))):
            folder = tmp_path / f"{name}-{number}"
            ends = {"window_end_ns": round((BEGUN_S + length_s) * S)}
            assert "LITTLE" not in codes(folder, made, **ends)
    for name, made in (("steady", queued(per_s=70)), ("slow", closed(took_ms=350))):
        codes(tmp_path / name, made)
        summary = summary_of(tmp_path / name)
        assert summary.latency_ms
        expected = summary.throughput_per_s * summary.latency_ms.mean / 1e3
        assert summary.in_flight == pytest.approx(expected, rel=0.03)


def test_nobody_counted_what_is_in_flight_in_older_runs(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", manifest("run", **WINDOW), closed())
    summary = summary_of(folder)
    assert (summary.in_flight, summary.issues) == (None, [])


def test_fewer_seconds_than_were_asked_for(tmp_path: Path) -> None:
    assert codes(tmp_path / "short", duration_s=20.0) == {"SHORT": False}
    cut = codes(tmp_path / "cut", duration_s=20.0, window_end_ns=None)
    assert cut == {"UNFINISHED": False}


def test_steady_runs_are_seldom_said_to_be_unsteady() -> None:
    """200 short runs each of a queue with one server at 70 % of what it can take, and of latencies
    that follow each other (AR(1), 0.5 from one tenth of a second to the next).
    """
    alarms, window_ns = Counter[str](), (2 * S, 4 * S)
    chance = np.random.default_rng(11)
    for seed in range(200):
        made = queued(per_s=140, took_ms=5.0, seed=seed)
        due, end = (np.array([getattr(one, name) for one in made]) for name in ("due_ns", "end_ns"))
        found = [*of_latency(due, end, window_ns=window_ns)]
        found += of_backlog(due, end, window_ns=window_ns)
        level = np.zeros(60)
        for at in range(1, 60):
            level[at] = 0.5 * level[at - 1] + chance.normal(0, 0.15)
        due = np.arange(0, 6 * S, 5 * MS)
        end = due + (5 * MS * np.exp(level[due * 10 // S])).astype(np.int64)
        found += of_latency(due, end, window_ns=window_ns)
        alarms.update(code for code, _, _ in found)
    assert alarms["BACKLOG"] == 0
    assert alarms.total() <= 8, alarms
