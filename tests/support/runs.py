"""Loads that end once they have measured enough, however slow the machine is."""

from pathlib import Path

from processes import ended, started, until

from bench.record import folders, records
from bench.runs.run import LOAD, Plan
from pipelines.spans import Request


def measured(folder: Path) -> list[Request]:
    """The run's requests so far, without those of its warm-up."""
    if not (folder / records.MANIFEST).exists():
        return []
    start_ns = records.read_manifest(folder).window_start_ns
    return [each for each in records.read_requests(folder) if each.due_ns >= start_ns]


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
