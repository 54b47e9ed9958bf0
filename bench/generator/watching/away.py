"""A worker of a load whose master is elsewhere: what tells its clock from the master's, and its CPU
time.

It asks the master for its time over Locust's own connection, and writes down when it asked and
when it was told (RFC 5905, figure 2); `bench collect` makes the difference of that.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import gevent
import msgspec
from locust.runners import MasterRunner, WorkerRunner

from bench.record.hosts import Round
from bench.record.records import ON_OTHER_HOSTS, Sample
from pipelines.processes import owner

MESSAGE = "visiontax-clock"
EVERY_S = 0.5


def told_time(runner: MasterRunner, asked: Mapping[str, Any], *, to: str) -> None:
    """The master's: answer a worker."""
    told = {"asked_ns": asked["asked_ns"], "told_ns": time.monotonic_ns()}
    runner.send_message(MESSAGE, told, client_id=to)


class Away:
    """Such a worker's rounds to the master, and its CPU time, in the folder of its records."""

    def __init__(self, runner: WorkerRunner, folder: Path) -> None:
        self._runner, self._tag = runner, folder.name
        self._rounds = (folder / f"rounds-{owner()}.jsonl").open("ab", buffering=0)
        self._samples = (folder / f"samples-{owner()}.jsonl").open("ab", buffering=0)
        self._pid = (int(self._tag, 16) + 1) * ON_OTHER_HOSTS + os.getpid()
        self._asking = gevent.spawn(self._ask)

    def _ask(self) -> None:
        while True:
            cpu_s = time.process_time()
            _write(self._samples, Sample(time.monotonic_ns(), "generator", self._pid, cpu_s))
            asked = {"tag": self._tag, "asked_ns": time.monotonic_ns()}
            self._runner.send_message(MESSAGE, asked)
            gevent.sleep(EVERY_S)

    def answered(self, told: Mapping[str, Any]) -> None:
        """The master has told its time."""
        _write(self._rounds, Round(told["asked_ns"], told["told_ns"], time.monotonic_ns()))

    def close(self) -> None:
        """Ask no more."""
        self._asking.kill()
        self._rounds.close()
        self._samples.close()


def _write(file: BinaryIO, thing: msgspec.Struct) -> None:
    if not file.closed:
        with contextlib.suppress(OSError):  # where the disk is full the recorder says so
            file.write(msgspec.json.encode(thing) + b"\n")
