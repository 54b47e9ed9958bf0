"""Whose CPU time and memory is sampled, and the samples."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec
import psutil

from bench.record.records import MACHINE, Sample, request_files
from pipelines.engines.address import address_of

TOGETHER_NS = 1_000_000
"""Between two readings of a clock, so that one of another between them is of the same moment."""


class Served:
    """The processes of who listens at an address, if we may see them; of nobody without one.

    They are looked for when the first sample is taken, and again when one of them has ended, until
    somebody listens.
    """

    def __init__(self, urls: str | None, *, grouped: bool = False) -> None:
        """`grouped` says that all processes of a listener's group are the server's."""
        self._urls, self._grouped = urls, grouped
        self._listeners: list[psutil.Process] = []
        self._processes: list[psutil.Process] = []
        self._looked = False

    @property
    def elsewhere(self) -> str:
        """The address where nobody of this host listens, empty of one here."""
        urls = self._urls or ""
        here = all(address_of(url.strip()).is_local for url in urls.split(",") if url)
        return "" if here or listeners(urls) else urls

    def sample(self, *, role: str, into: BinaryIO) -> None:
        """Append a Sample of each."""
        if self._urls and not (self._looked and all(map(_runs, self._processes))):
            self._look(self._urls)
        listening = {one.pid for one in self._listeners}
        sample(self._processes, role=role, into=into, listening=listening)

    def _look(self, urls: str) -> None:
        found = listeners(urls)
        if not found and self._looked:
            return  # it may be on its way up
        self._looked = True
        self._listeners = found
        # Of servers with several processes for HTTP only one is found to listen.
        self._processes = group_of(found) if self._grouped else family(found)


def listeners(urls: str) -> list[psutil.Process]:
    """Return who listens at the addresses; a cluster of brokers has several, in one text."""
    ports = {address_of(url.strip()).port for url in urls.split(",")}
    found: dict[int, psutil.Process] = {}
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status != psutil.CONN_LISTEN or connection.pid is None:
                continue
            if connection.laddr and connection.laddr.port in ports:
                found[connection.pid] = psutil.Process(connection.pid)
    return list(found.values())


def family(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return the processes and all below them."""
    found: dict[int, psutil.Process] = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found |= {one.pid: one for one in (process, *process.children(recursive=True))}
    return list(found.values())


def group_of(listeners: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return all processes of the groups that these are in; such a server was started by us."""
    groups = set()
    for process in listeners:
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(process.pid))
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) in groups:
                found.append(process)
    return found


def worker_processes(broker: str) -> list[psutil.Process]:
    """Return the workers, started by hand on this host, that use the broker at host:port."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "pipelines.worker" in (command := process.info["cmdline"] or []) and broker in command
    ]


def generator_processes(folder: Path, parent: int) -> list[psutil.Process]:
    """Return the process that started us and every process that records into the folder."""
    names = [path.stem.split("-")[1] for path in request_files(folder)]
    return living({parent} | {int(name) for name in names if name.isdecimal()})


def living(pids: Iterable[int]) -> list[psutil.Process]:
    """Return the processes of these that there are."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return found


def _runs(process: psutil.Process) -> bool:
    """Whether it has not ended, nor waits for its parent to take note of that."""
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def sample(
    processes: Iterable[psutil.Process],
    *,
    role: str,
    into: BinaryIO,
    listening: Iterable[int] = (),
) -> None:
    """Append one Sample of each process that still lives."""
    for process in filter(_runs, processes):
        with contextlib.suppress(psutil.Error), process.oneshot():
            times = process.cpu_times()
            taken = Sample(
                time.monotonic_ns(),
                role,
                process.pid,
                times.user + times.system,
                memory_bytes=process.memory_info().rss,
                listens=process.pid in listening,
            )
            into.write(msgspec.json.encode(taken) + b"\n")
    into.flush()


def sample_machine(into: BinaryIO) -> None:
    """Append a Sample of the cores that we may use: what anybody took of them, other guests too."""
    if sys.platform != "linux":
        return
    cores = os.sched_getaffinity(0)
    times = [one for core, one in enumerate(psutil.cpu_times(percpu=True)) if core in cores]
    used = sum(sum(one) - one.idle - one.iowait - one.guest - one.guest_nice for one in times)
    steal_s = sum(one.steal for one in times)
    now_ns, unix_ns = _clocks()
    taken = Sample(now_ns, MACHINE, 0, used, steal_s=steal_s, unix_ns=unix_ns)
    into.write(msgspec.json.encode(taken) + b"\n")


def _clocks() -> tuple[int, int]:
    """The monotonic and the wall clock, read together: without a pause of ours between them."""
    for _ in range(10):
        before_ns, unix_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after_ns - before_ns < TOGETHER_NS:
            break
    return before_ns, unix_ns
