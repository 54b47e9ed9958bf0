"""A process beside the load: takes samples, also of energy, and fetches Triton's trace and what
servers tell of themselves, once a second.

It runs until its standard input closes, so it ends with the generator that started it, however that
ends, and then turns tracing off and folds what was traced.
"""

import contextlib
import fcntl
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import click
import psutil

from bench.generator.watching.energy import Counters
from bench.generator.watching.own_spans import OwnSpans
from bench.generator.watching.samples import (
    Served,
    generator_processes,
    living,
    sample,
    sample_machine,
    worker_processes,
)
from bench.record import trace
from bench.record.files import as_json, write_atomically
from bench.record.records import DIED, ENERGY, MONITOR, SAMPLES, Died
from pipelines import processes
from pipelines.errors import ServerError, VisiontaxError, complaint
from pipelines.processes import Child, answered
from pipelines.servers import control, triton
from pipelines.servers.launch.guard import ending_of

INTERVAL_S = 1.0
FOLDING_S = 900.0
"""How long folding the trace may take when the run is over."""

WRITTEN_S, TICK_S = 2.0, 0.05
"""How long Triton may take to write the rest of its trace, of which there may be none."""


class Monitor(Child):
    """The generator's handle on its monitor, which turns tracing off and folds it when it stops."""

    def __init__(
        self,
        folder: Path,
        *,
        server: str | None,
        traced: bool,
        grouped: bool,
        broker: str | None,
        workers: Sequence[int] = (),
    ) -> None:
        """`traced` says that the server's trace is fetched, which is a Triton; `grouped` that all
        processes of its group are its own.
        """
        command = [sys.executable, "-m", "bench.generator.watching.monitor", str(folder)]
        command += [] if server is None else ["--server", server]
        command += ["--traced"] if traced else []
        command += ["--grouped"] if grouped else []
        command += [] if broker is None else ["--broker", broker]
        command += [word for pid in workers for word in ("--worker", str(pid))]
        super().__init__(
            *("the monitor", command), piped=True, is_ready=answered, patience_s=FOLDING_S
        )
        self.wait_ready()  # tracing is on


class _HeldError(ServerError):
    """Another run has the trace."""


def _hold(trace: Path, *, server: str, run: Path) -> TextIO | None:
    """Lock the trace for this run until its process ends. Raises _HeldError when another has it.

    None where the trace is on another host, or in a folder that is not ours to write to.
    """
    try:
        lock = trace.with_name(trace.name + ".lock").open("a+")
    except (OSError, ValueError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise _HeldError(
            f"Triton at {server} is being traced for another run: {lock.read().strip()}",
            hint="wait until that run is over, or give this one a server of its own",
        ) from None
    lock.truncate(0)
    print(run.resolve(), file=lock, flush=True)
    return lock


class _Trace:
    """The trace of one Triton, fetched into one run's folder. Silent when there is no server."""

    def __init__(self, folder: Path, *, server: str | None) -> None:
        self._folder, self._server, self._file = folder, server, None
        self._since_ns = time.monotonic_ns()
        if server is None:
            return
        try:
            path = Path(str(control.setting(server).get("trace_file", "")))
            self._held = _hold(path, server=server, run=folder)
            control.turn_off(server)
            self._next = trace.next_number(path)
            control.turn_on(server)
            self._file = path
        except _HeldError:
            raise
        except VisiontaxError as error:
            click.echo(f"warning: {error}", err=True)

    def fetch(self) -> None:
        """Take what Triton has written out since."""
        if self._file is not None:
            self._next = trace.collect(self._file, self._folder, first=self._next)

    def finish(self) -> None:
        """Turn tracing off, take the rest, and fold it all."""
        if self._file is not None and self._server is not None:
            self.fetch()
            with contextlib.suppress(VisiontaxError):  # a server that died has said what it could
                control.turn_off(self._server)
                self._await_rest()
            self._tell_of_death(self._file.with_name(triton.LOG))
            trace.collect(self._file, self._folder, first=self._next, last=True)
        trace.fold(self._folder)

    def _await_rest(self) -> None:
        """Fetch until Triton has written the rest: it does once it let go of the last request."""
        before, until = self._next, time.monotonic() + WRITTEN_S
        while self._next == before and time.monotonic() < until:
            time.sleep(TICK_S)
            self.fetch()

    def _tell_of_death(self, log: Path) -> None:
        """Keep how the server ended that wrote this log, if it did so in the run."""
        ending = ending_of(log)
        if ending and ending.time_ns >= self._since_ns:
            died = Died(how=ending.how, time_ns=ending.time_ns, lines=ending.lines)
            write_atomically(self._folder / DIED, as_json(died) + b"\n")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--server", help="The server's HTTP address, host:port.")
@click.option("--traced", is_flag=True, help="It is a Triton, whose trace is fetched.")
@click.option("--grouped", is_flag=True, help="All of its process group is the server.")
@click.option("--broker", help="The message broker's address, host:port.")
@click.option("--worker", "workers", type=int, multiple=True, help="The pid of a worker.")
def command(
    folder: Path,
    server: str | None,
    broker: str | None,
    workers: tuple[int, ...],
    *,
    traced: bool,
    grouped: bool,
) -> None:
    """Watch one run until standard input closes."""
    processes.outlive_signals()
    parent = psutil.Process().ppid()
    try:
        trace = _Trace(folder, server=server if traced else None)
    except _HeldError as error:
        sys.exit(complaint(error))
    told = OwnSpans(folder)
    print("watching", flush=True)
    served = Served(server, grouped=grouped)
    brokering = Served(broker)
    disk_is_full = contextlib.suppress(OSError, VisiontaxError)  # the load says so
    with (
        disk_is_full,
        (folder / SAMPLES).open("ab") as file,
        (folder / ENERGY).open("ab") as joules,
    ):
        counters = Counters(away=served.elsewhere)
        counters.tell(joules)
        while True:
            counters.sample(joules)
            sample_machine(into=file)
            sample([psutil.Process()], role=MONITOR, into=file)
            sample(generator_processes(folder, parent), role="generator", into=file)
            served.sample(role="server", into=file)
            brokering.sample(role="broker", into=file)
            sample(
                living(workers) or worker_processes(broker) if broker else [],
                role="worker",
                into=file,
            )
            if select.select([sys.stdin], [], [], INTERVAL_S)[0]:
                break
            trace.fetch()
            told.fetch()
    select.select([sys.stdin], [], [])
    with disk_is_full:
        trace.finish()
    with disk_is_full:
        told.finish()
    processes.sweep_shared_memory()  # a generator that was killed has left its own


if __name__ == "__main__":
    command()
