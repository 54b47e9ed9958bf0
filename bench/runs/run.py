"""A run to be made, and the making of it: the load as a process, with the workers that it needs."""

import contextlib
import functools
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from bench.generator.session import COOLDOWN_NS
from bench.generator.spec import Attached, LoadSpec
from bench.generator.watching.in_flight import left_in_flight
from bench.ledger.units import clean, count
from bench.prepare.images.sets import asked_with, images_of, specs_of
from bench.record import folders, scenario
from bench.record.manifest import MANIFEST
from bench.runs.equipment import crew
from bench.runs.progress import Progress, say_where
from pipelines import paths
from pipelines.engines.serving import TITLES
from pipelines.errors import ResultsError, ServerError, VisiontaxError
from pipelines.paths import REPOSITORY
from pipelines.preprocess.choose import FULL
from pipelines.processes import HOST, Child, free_port
from pipelines.servers import control

LOAD = paths.ROOT / "bench" / "load.py"
CORES = "bench.generator.cores"
"""The module that makes runs without a server, and without Locust."""

LOG = "locust.log"
"""Where in a run's folder its load says what it says."""

TICK_S = 0.2
STOP_TIMEOUT_S = 45.0
"""How long the load has for its requests in flight, and for the trace, when it is to end."""

FEW_FILES = 800
"""Below so many users their connections are few enough for select(2), which wakes a process within
0.1 ms of the moment it asks for; epoll rounds that up to the next whole millisecond.
"""

OVERHEAD_S = 4.0
"""About how long a run takes beyond its warm-up and duration."""


def length_s(settings: scenario.Settings, duration_s: float) -> float:
    """Return about how long a run takes."""
    return settings.warmup_s + duration_s + OVERHEAD_S


@dataclass(frozen=True)
class Plan:
    """One run: its settings, how long it measures, and where its folder goes.

    `repository` is the one that the server serves, where it is not this checkout's; `attached` is
    as in LoadSpec. So many `processes` ask.
    """

    settings: scenario.Settings
    duration_s: float
    results: Path = folders.RESULTS
    repository: Path | None = None
    attached: Attached | None = None
    processes: int = 1

    @property
    def users(self) -> int:
        """How many ask: where they do all the work, more than there are cores would only wait."""
        users = self.settings.users
        return min(users, len(os.sched_getaffinity(0))) if self.settings.local else users

    @property
    def title(self) -> str:
        """What tells this run from the others."""
        chosen, users = self.settings, count(self.settings.users, "user")
        if chosen.alone:
            return f"{chosen.pipeline} inference alone {chosen.transport} {users}"
        if chosen.only:
            return f"{chosen.pipeline} {chosen.only} alone {chosen.images} {chosen.place} {users}"
        images, how = scenario.called(chosen.images), chosen.topology or chosen.transport
        how = f"{chosen.served_by} {how}" if chosen.named else how
        how = how if chosen.decode == FULL else f"{chosen.decode} {how}"
        return f"{chosen.pipeline} {images} {chosen.preprocess}@{chosen.place} {how} {users}"

    def load(self, folder: Path, **changes: Any) -> tuple[LoadSpec, float]:
        """Return what the load is told that makes this run in `folder`, and how long it takes, s.

        Locust counts whole seconds, so the warm-up takes what rounding adds.
        """
        cooldown_s = COOLDOWN_NS / 1e9
        total_s = math.ceil(self.settings.warmup_s + self.duration_s + cooldown_s)
        warmup_s = total_s - self.duration_s - cooldown_s
        spec = LoadSpec(
            scenario=msgspec.structs.replace(self.settings, warmup_s=warmup_s, users=self.users),
            folder=str(folder),
            repository=str((self.repository or REPOSITORY).resolve()),
            attached=self.attached,
        )
        return msgspec.structs.replace(spec, **changes), total_s

    def command(self, folder: Path, **changes: Any) -> list[str]:
        """Return the command that makes this run in `folder`; `changes` are of its spec."""
        spec, total_s = self.load(folder, **changes)
        if self.settings.local:
            words = ["--load", msgspec.json.encode(spec).decode(), "--run-time", f"{total_s:.0f}"]
            return [sys.executable, "-m", CORES, *words]
        several = together(self.processes) if self.processes > 1 else []
        return [sys.executable, *locust(spec, total_s=total_s, program=LOAD), *several]


def together(processes: int) -> list[str]:
    """Return the arguments with which Locust forks so many, who meet at a free port of this host:
    at Locust's own one, on all addresses, two loads would be in each other's way.
    """
    port = str(free_port())
    bound = ["--master-bind-host", HOST, "--master-bind-port", port, "--master-port", port]
    return ["--processes", str(processes), *bound]


def locust(spec: LoadSpec, *, total_s: float, program: Path) -> list[str]:
    """Return the arguments of Python with which Locust runs the locustfile as the load asked for.

    It starts all users at once, and takes `total_s` seconds.
    """
    users = str(spec.scenario.users)
    return [
        *("-m", "locust", "-f", str(program)),
        *("--headless", "--only-summary", "--loglevel", "WARNING", "--stop-timeout", "30"),
        *("--users", users, "--spawn-rate", users, "--run-time", f"{total_s:.0f}s"),
        *("--load", msgspec.json.encode(spec).decode()),
    ]


def execute(
    plan: Plan,
    *,
    folder: Path | None = None,
    tick: Callable[[], None] = lambda: None,
    enough: Callable[[Path], bool] = lambda _: False,
) -> Path:
    """Make one run, with the workers that it needs, and return its folder, the one given or a new.

    It ends before its time when what is in the folder is `enough`.

    Raises ResultsError when it cannot be written, and VisiontaxError in the generator's own words
    when that fails. A Ctrl-C leaves what was measured until then in the folder.
    """
    with crew(plan.settings) as workers:
        folder = _load(plan, folder, workers, tick=tick, enough=enough)
        gone = sum(not worker.alive for worker in workers)
    if gone:
        click.echo(f"warning: {count(gone, 'worker')} ended in mid-run", err=True)
    return folder


def _load(
    plan: Plan,
    folder: Path | None,
    workers: list[Child],
    *,
    tick: Callable[[], None],
    enough: Callable[[Path], bool],
) -> Path:
    folder = folder or folders.make_folder(plan.results, plan.settings)
    try:
        with start_load(plan, folder, workers=workers) as load:
            while load.alive:
                load.wait(TICK_S)
                tick()
                if enough(folder):
                    load.stop()
    except KeyboardInterrupt:
        if (folder / MANIFEST).exists():
            say_where([folder])
        raise
    code = load.process.returncode
    if code < 0 and (folder / MANIFEST).exists():
        say_where([folder])
        raise _killed(signal.Signals(-code), plan.settings, folder)
    if code == os.EX_IOERR:
        say_where([folder])
        raise disk_failed(folder)
    if code and not (folder / MANIFEST).exists():
        said = load.complaint()
        (folder / LOG).unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()  # there is no run
        failed = "" if said.own else "the load generator failed: "
        raise VisiontaxError(f"{failed}{said.words}", hint=said.hint)
    if code == 0:
        for line in load.lines():
            if line.startswith("warning: "):
                click.echo(line, err=True)
        (folder / LOG).unlink()
    return folder


def disk_failed(folder: Path) -> ResultsError:
    """What to say of a load that has ended with EX_IOERR; its own words may be lost too."""
    return ResultsError(
        f"the records cannot be written: is the disk of {folder} full?",
        hint="free some space and run again; what was recorded until then is kept",
    )


@functools.cache
def _say_left_out(images: str, preprocess: str) -> None:
    """Say once which of the user's files are not asked with."""
    if said := images_of(images, preprocess=preprocess).left_out:
        click.echo(f"warning: {clean(images)}: {clean(said)}", err=True)


def _killed(by: signal.Signals, settings: scenario.Settings, folder: Path) -> VisiontaxError:
    """What to say of a load that a signal ended."""
    found = None if settings.alone else asked_with(settings)
    paths = found.paths if found else []
    names = [str(paths[number]) for number in left_in_flight(folder) if number < len(paths)]
    said = f" with {', '.join(names)} in flight" if names else ""
    return VisiontaxError(
        f"the load was ended by {by.name}{said}",
        hint="leave such an image out and run again; what was recorded until then is kept",
    )


def start_load(plan: Plan, folder: Path, *, workers: Sequence[Child] = ()) -> Child:
    """Start the load of a run in `folder`."""
    if not plan.settings.alone:
        for images in specs_of([plan.settings]):
            _say_left_out(images, plan.settings.preprocess)
    command = plan.command(folder, workers=[each.process.pid for each in workers])
    environment = os.environ | exact(plan.settings)
    return Child(
        "the load", command, log=folder / LOG, patience_s=STOP_TIMEOUT_S, environment=environment
    )


def exact(settings: scenario.Settings) -> dict[str, str]:
    """Return the variables with which a load asks when requests are due, as exactly as it can."""
    few = settings.open and settings.users < FEW_FILES
    return {"GEVENT_BACKEND": "select"} if few else {}


def each_run(plans: Sequence[Plan]) -> Iterator[Path]:
    """Make the runs one after the other and yield their folders.

    Shows progress and the time left on stderr. Raises VisiontaxError when one cannot be made, or
    has left no server for the next one.
    """
    lengths = [length_s(plan.settings, plan.duration_s) for plan in plans]
    with Progress(sum(lengths)) as progress:
        for number, (plan, length) in enumerate(zip(plans, lengths, strict=True), start=1):
            progress.step(f"[{number}/{len(plans)}] {plan.title}", seconds=length)
            yield execute(plan, tick=progress.tick)
            check_alive(plan.settings)
            progress.done()


def check_alive(settings: scenario.Settings) -> None:
    """Raise ServerError when the server is gone that was measured."""
    asked = settings.traced or settings.named
    if asked and settings.server and not control.is_ready(settings.server):
        name = TITLES[settings.served_by]
        raise ServerError(
            f"{name} at {settings.server} stopped answering while it was measured",
            hint="its log says why; 'bench serve' and 'bench run' keep it in build/serve/",
        )
