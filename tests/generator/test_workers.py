"""A load of several processes: each asks its part, and a run that lost one says so."""

from pathlib import Path

import msgspec
import numpy as np
import psutil
from processes import LOCUST, PYTHON, ended, run, started, until
from queueing import distance
from runs import enough

from bench.generator.schedules.schedule import AtRate, share
from bench.ledger.reading import summary_of
from bench.ledger.summary import Summary
from bench.record.manifest import read_manifest
from bench.runs.run import together
from pipelines.spans import Request

TWO = (
    *("--headless", "-u", "32", "-r", "32", "--warmup", "1s"),
    *("--transport", "fake", "--images", "small", "--service", "1ms"),
)
IMPATIENT = """
from locust import runners

runners.HEARTBEAT_LIVENESS = 2

from bench.load import *
"""
"""A locustfile whose master misses a worker sooner."""


def due_ns(*paths: Path) -> np.ndarray:
    """When the requests in files of records were due, in their order, answered or not."""
    lines = [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]
    whole = [line for line in lines if line.endswith(b"\n")]
    return np.sort([msgspec.json.decode(line, type=Request).due_ns for line in whole])


def starts_ns(parts: list[np.ndarray], schedule: AtRate) -> list[int]:
    """When each process began: what was due of it is one part of the schedule, and no other's."""
    found: dict[int, int] = {}
    for due in parts:
        for part in range(len(parts)):
            own = share(schedule, part=part, parts=len(parts))
            shift = due - np.array([one.due_ns for one, _ in zip(own, due, strict=False)])
            if np.ptp(shift) == 0:
                found[part] = int(shift[0])
    assert len(found) == len(parts)
    return [*found.values()]


def codes(summary: Summary) -> set[str]:
    return {issue.code for issue in summary.issues}


def test_processes_share_a_schedule(tmp_path: Path) -> None:
    options = ("--rate", "150/s", "--seed", "3", "-t", "4s")
    for attempt in range(3):  # where others take the cores a heartbeat may be missed
        results = tmp_path / f"{attempt}"
        done = run(LOCUST, *TWO, *together(2), *options, "--results", results)
        assert done.returncode == 0, done.stderr
        (folder,) = results.iterdir()
        if "GENERATOR_LOST" not in codes(summary_of(folder)):
            break
    asked = [due_ns(path) for path in folder.glob("requests-*.jsonl")]
    assert len(asked) == 2
    starts = starts_ns(asked, AtRate("150/s", "poisson", seed=3))
    assert np.ptp(starts) < 2e9
    summary, manifest = summary_of(folder), read_manifest(folder)
    assert "GENERATOR_LOST" not in codes(summary)
    # On a busy machine they begin after their master, and what was due meanwhile is missing.
    late_s = (max(starts) - manifest.window_start_ns) / 1e9 + 1
    assert "MISSING" not in codes(summary) or late_s > 0.03
    assert abs(summary.requests - (manifest.due or 0)) <= 10 + 150 * late_s
    assert summary.duration_s > 0.95 * (4 - 1 - 1)  # run time, warm-up and cooldown
    assert "SHORT" not in codes(summary)


def without_one(tmp_path: Path, *command: str, at_once: bool = False) -> tuple[Path, Summary, Path]:
    """The run of a load of which one worker is killed, and the file in which that one recorded; it
    may be ended `at_once`.
    """
    into = tmp_path / "results"
    log = tmp_path / "log"
    with started(command, *TWO, *together(2), "--results", into, log=log) as process:
        until(lambda: len([*into.glob("*/requests-*")]) == 2, "both workers ask")
        (folder,) = into.iterdir()
        until(lambda: enough(100)(folder), "enough requests")
        workers = psutil.Process(process.pid).children()
        victim = next(one for one in workers if [*folder.glob(f"requests-{one.pid}.jsonl")])
        victim.kill()
        if at_once:
            process.terminate()
        ended(process)
    return folder, summary_of(folder), folder / f"requests-{victim.pid}.jsonl"


def test_when_a_worker_vanishes_the_others_take_its_part_over(tmp_path: Path) -> None:
    """What was due until then is missing."""
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    locust = (PYTHON, "-m", "locust", "-f", str(tmp_path / "impatient.py"))
    folder, summary, lost = without_one(tmp_path, *locust, "-t", "16s", "--rate", "200/s")
    assert {"MISSING", "GENERATOR_LOST"} <= codes(summary)
    assert not summary.valid
    end_ns = read_manifest(folder).window_end_ns
    assert end_ns
    (other,) = {*folder.glob("requests-*.jsonl")} - {lost}
    until_ns, going_on = due_ns(lost), due_ns(other)
    both = [until_ns, going_on[going_on < until_ns[-1]]]
    assert np.ptp(starts_ns(both, AtRate("200/s", "poisson", seed=1))) < 2e9
    last = going_on[(going_on >= end_ns - 2e9) & (going_on < end_ns)]
    assert len(last) > 0.8 * 2 * 200  # at the whole rate again
    assert distance(np.diff(last) / 1e9, 200) < 1


def test_a_closed_loop_that_lost_a_worker_is_invalid(tmp_path: Path) -> None:
    """Also where the run ends before Locust's master would miss it."""
    load = ("-t", "10m", "--service", "50ms")
    _, summary, _ = without_one(tmp_path, *LOCUST, *load, at_once=True)
    (issue,) = (one for one in summary.issues if one.code == "GENERATOR_LOST")
    assert issue.invalid
    assert summary.requests >= 100
