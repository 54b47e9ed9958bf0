"""A process beside the load: samples CPU times, and fetches Triton's trace, once a second.

It runs until its standard input closes, so it ends with the generator that started it, however that
ends, and then turns tracing off and folds what was traced.
"""

import contextlib
import fcntl
import select
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

import click
import msgspec
import psutil

from bench.record import trace
from bench.record.records import SAMPLES, Sample
from pipelines import processes
from pipelines.engines.address import address_of
from pipelines.errors import ServerError, VisiontaxError, complaint
from pipelines.processes import Child, answered
from pipelines.servers import control

INTERVAL_S = 1.0
FOLDING_S = 900.0
"""How long folding the trace may take when the run is over."""


class Monitor(Child):
    """The generator's handle on its monitor, which turns tracing off and folds it when it stops."""

    def __init__(
        self, folder: Path, *, server: str | None, broker: str | None, workers: Sequence[int] = ()
    ) -> None:
        command = [sys.executable, "-m", "bench.generator.monitor", str(folder)]
        command += [] if server is None else ["--server", server]
        command += [] if broker is None else ["--broker", broker]
        command += [word for pid in workers for word in ("--worker", str(pid))]
        super().__init__(
            *("the monitor", command), piped=True, is_ready=answered, patience_s=FOLDING_S
        )
        self.wait_ready()  # tracing is on


def server_processes(url: str) -> list[psutil.Process]:
    """Return the process that listens at the address and its children, if we may see them."""
    port = address_of(url).port
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.pid is None:
                continue
            if connection.laddr and connection.laddr.port == port:
                server = psutil.Process(connection.pid)
                return [server, *server.children(recursive=True)]
    return []


def worker_processes(broker: str) -> list[psutil.Process]:
    """Return the workers, started by hand on this host, that use the broker at host:port."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "pipelines.worker" in (command := process.info["cmdline"] or []) and broker in command
    ]


def generator_processes(folder: Path, parent: int) -> list[psutil.Process]:
    """Return the process that started us and every process that records into the folder."""
    return _living(
        {parent} | {int(path.stem.split("-")[1]) for path in folder.glob("requests-*.jsonl")}
    )


def _living(pids: Iterable[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return found


def sample(processes: list[psutil.Process], *, role: str, into: BinaryIO) -> None:
    """Append one Sample of each process that still lives."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            taken = Sample(time.monotonic_ns(), role, process.pid, times.user + times.system)
            into.write(msgspec.json.encode(taken) + b"\n")
    into.flush()


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
            with contextlib.suppress(VisiontaxError):  # a server that died has said what it could
                control.turn_off(self._server)
                time.sleep(0.05)
            trace.collect(self._file, self._folder, first=self._next, last=True)
        trace.fold(self._folder)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--server", help="Triton's HTTP address, host:port.")
@click.option("--broker", help="The message broker's address, host:port.")
@click.option("--worker", "workers", type=int, multiple=True, help="The pid of a worker.")
def command(folder: Path, server: str | None, broker: str | None, workers: tuple[int, ...]) -> None:
    """Watch one run until standard input closes."""
    processes.outlive_signals()
    parent = psutil.Process().ppid()
    try:
        trace = _Trace(folder, server=server)
    except _HeldError as error:
        sys.exit(complaint(error))
    print("watching", flush=True)
    served = server_processes(server) if server else []
    brokering = server_processes(broker) if broker else []
    disk_is_full = contextlib.suppress(OSError, VisiontaxError)  # the load says so
    with disk_is_full, (folder / SAMPLES).open("ab") as file:
        while True:
            sample(generator_processes(folder, parent), role="generator", into=file)
            sample(served, role="server", into=file)
            sample(brokering, role="broker", into=file)
            sample(
                _living(workers) or worker_processes(broker) if broker else [],
                role="worker",
                into=file,
            )
            if select.select([sys.stdin], [], [], INTERVAL_S)[0]:
                break
            trace.fetch()
    select.select([sys.stdin], [], [])
    with disk_is_full:
        trace.finish()
    processes.sweep_shared_memory()  # a generator that was killed has left its own


if __name__ == "__main__":
    command()
