"""Loads that end once they have measured enough, however slow the machine is."""

from collections.abc import Callable
from pathlib import Path

from processes import ended, started, until

from bench.generator.session import COOLDOWN_NS
from bench.record import folders, records
from bench.record.manifest import MANIFEST, read_manifest
from bench.runs.run import LOAD, Plan
from pipelines.spans import Request

TURNS = 3


def assert_less(measure: Callable[[int], float], limit: float) -> None:
    """What is measured is less in one of TURNS turns: others' programs disturb one, not all."""
    found = list[float]()
    for turn in range(TURNS):
        found.append(measure(turn))
        if found[-1] < limit:
            return
    raise AssertionError(f"none is less than {limit}: {found}")


def measured(folder: Path) -> list[Request]:
    """The run's requests so far, without those of its warm-up."""
    if not (folder / MANIFEST).exists():
        return []
    start_ns = read_manifest(folder).window_start_ns
    return [each for each in records.read_requests(folder) if each.due_ns >= start_ns]


def enough(count: int, *, for_s: float = 0.0) -> Callable[[Path], bool]:
    """Whether so many requests would count if the run ended now, and so many seconds: its last
    second does not. For `execute`, of a run that may take long; samples are taken once a second.
    """

    def is_enough(folder: Path) -> bool:
        told = measured(folder)
        end_ns = max((one.end_ns for one in told), default=0) - COOLDOWN_NS
        due_ns = [one.due_ns for one in told if one.due_ns < end_ns]
        return len(due_ns) >= count and end_ns - min(due_ns, default=0) >= for_s * 1e9

    return is_enough


def answered(folder: Path) -> list[Request]:
    """The run's answered requests, in the order in which they were due."""
    found = [one for one in records.read_requests(folder) if one.error is None]
    return sorted(found, key=lambda one: one.due_ns)


def load(plan: Plan, *, enough: int, locustfile: Path = LOAD) -> Path:
    """Make the run, but only until that many requests count; its folder."""
    folder = folders.make_folder(plan.results, plan.settings)
    command = [str(locustfile) if part == str(LOAD) else part for part in plan.command(folder)]
    log = plan.results / "load.log"
    with started(tuple(command), log=log) as process:
        until(lambda: len(measured(folder)) >= enough, "enough requests")
        process.terminate()
        assert ended(process) == 0, log.read_text()
    return folder
