"""The monitor beside a load sees what its processes do, and what others do, on this machine."""

import contextlib
import os
import socket
import time
from pathlib import Path

import pytest
from experiments import S, manifest
from processes import PYTHON, started, until

from bench.generator.watching.monitor import Monitor
from bench.generator.watching.samples import listeners
from bench.ledger.verdict.surroundings import of_surroundings
from bench.record import machine, records

SERVER = """
import socket, sys, time
held = []
with socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True):
    while True:
        held.append(bytearray(b"x") * (int(sys.argv[2]) << 17))
        time.sleep(0.125)
"""
BURNER = """
import time
while True:
    time.sleep(0.01)
    until = time.monotonic() + 0.01
    while time.monotonic() < until:
        pass
"""
HALF_THE_CORES = max(1, (os.cpu_count() or 1) // 2)


def a_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def server(port: int, *, mb_per_s: int = 0) -> tuple[str, ...]:
    return (PYTHON, "-c", SERVER, str(port), str(mb_per_s))


def found(folder: Path, since_ns: int) -> dict[str, str]:
    """What is said of the time since then, by its code."""
    samples = records.read_samples(folder)
    made = manifest(machine=machine.machine())
    window_ns = (since_ns, max(one.time_ns for one in samples))
    told = of_surroundings(made, samples, window_ns=window_ns, paused=False)
    return {code: said for code, said, _ in told}


def sampled(folder: Path, role: str, pid: int) -> int:
    """How often that process was."""
    path = folder / records.SAMPLES
    seen = records.read_samples(folder) if path.exists() else []
    return sum((one.role, one.pid) == (role, pid) for one in seen)


def test_what_is_planted_is_seen(tmp_path: Path) -> None:
    """The server is started anew in mid-run, the broker takes more and more memory, and another
    program keeps half of half the cores.
    """
    serving, brokering = a_port(), a_port()
    log = tmp_path / "log"
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(started(server(brokering, mb_per_s=16), log=log))
        for _ in range(HALF_THE_CORES):
            stack.enter_context(started((PYTHON, "-c", BURNER), log=log))
        with started(server(serving), log=log) as old:
            addresses = {"server": f"127.0.0.1:{serving}", "broker": f"127.0.0.1:{brokering}"}
            until(lambda: all(map(listeners, addresses.values())), "both listen")
            watch = Monitor(tmp_path, traced=False, grouped=False, **addresses)
            since_ns = time.monotonic_ns()
            until(lambda: sampled(tmp_path, "server", old.pid) > 3, "the old one")
        with started(server(serving), log=log) as new:
            until(lambda: sampled(tmp_path, "server", new.pid) > 1, "the new one")
            until(lambda: sampled(tmp_path, "broker", broker.pid) > 10, "the broker")
            watch.stop()
    said = found(tmp_path, since_ns)
    assert {"RESTARTED", "MEMORY", "FOREIGN"} <= set(said)
    assert f"it was process {new.pid}, not {old.pid}" in said["RESTARTED"]
    assert f"the broker (process {broker.pid}) took" in said["MEMORY"]
    roles = {one.role for one in records.read_samples(tmp_path)}
    assert roles == {"generator", "server", "broker", "machine", "monitor"}


def test_a_quiet_run_has_nothing_planted(tmp_path: Path) -> None:
    serving = a_port()
    with started(server(serving), log=tmp_path / "log"):
        address = f"127.0.0.1:{serving}"
        until(lambda: listeners(address), "it listens")
        watch = Monitor(tmp_path, server=address, traced=False, grouped=False, broker=None)
        since_ns = time.monotonic_ns()
        until(lambda: sampled(tmp_path, "monitor", watch.process.pid) > 3, "some samples")
        watch.stop()
    assert set(found(tmp_path, since_ns)) <= {"STEAL", "FOREIGN"}  # of a busy machine
    first, *_, last = (one for one in records.read_samples(tmp_path) if one.unix_ns is not None)
    assert last.unix_ns
    assert first.unix_ns
    passed_ns = last.time_ns - first.time_ns
    assert last.unix_ns - first.unix_ns == pytest.approx(passed_ns, abs=S / 100)
