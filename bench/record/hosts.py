"""What load generators on other hosts leave below a run's folder, each by its own clock.

    hosts/<tag>/host.json                whose it is: a Host
    hosts/<tag>/requests-<owner>.jsonl   as in a run's own folder
    hosts/<tag>/rounds-<owner>.jsonl     one Round a line: what tells its clock from the master's
    hosts/<tag>/samples-<owner>.jsonl    its CPU time, as in samples.jsonl

A host is no more than a tag: nothing here names it or its user.
"""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.record.files import as_json, read_versioned, write_atomically
from pipelines.errors import ResultsError
from pipelines.processes import owner
from pipelines.spans import Nanoseconds

SCHEMA = 1
HOSTS = "hosts"
HOST = "host.json"
_SAME = ("boot_id", "time_namespace")


class Host(msgspec.Struct, kw_only=True):
    """Who recorded: `clock` is the anchor of its clock, as in a run's manifest."""

    schema: int
    run: str
    tag: str
    clock: dict[str, Any]


class Round(msgspec.Struct, frozen=True):
    """A worker asked the master for its time: asked and received by the worker's clock, told by the
    master's.
    """

    asked_ns: Nanoseconds
    told_ns: Nanoseconds
    received_ns: Nanoseconds


def clock() -> dict[str, str | int]:
    """Return this process's CLOCK_MONOTONIC: which it is, and its anchor to the date."""
    return {
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "time_namespace": _namespace(),
        "monotonic_ns": time.monotonic_ns(),
        "unix_ns": time.time_ns(),
    }


def _namespace() -> str:
    """How far the clock is ahead of the host's, in seconds and nanoseconds: in most places 0 0."""
    try:
        lines = Path("/proc/self/timens_offsets").read_text().split("\n")
    except OSError:
        return "0 0"
    return next((" ".join(line.split()[1:]) for line in lines if line.startswith("mono")), "0 0")


def same_clock(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both anchors are of one clock."""
    return all(one.get(key) == other.get(key) for key in _SAME)


def tag() -> str:
    """Return eight hexadecimal digits for this host, or container, and its clock."""
    about = f"{owner().partition('_')[0]} {_namespace()}"
    return hashlib.sha256(about.encode()).hexdigest()[:8]


def folder_of(told: Path, by: Mapping[str, Any], *, results: Path) -> Path:
    """Return where this worker records: in the run's folder, which it was told, where that is here
    and of its own clock; else in a folder of its own below its `results`.

    Raises ResultsError when that cannot be made.
    """
    if told.is_dir() and same_clock(by, clock()):
        return told
    folder = results / told.name / HOSTS / tag()
    _write_host(folder, run=told.name)
    return folder


def _write_host(folder: Path, *, run: str) -> None:
    """Make the folder of this host's records, and say there whose they are.

    Raises ResultsError when that cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(
            f"cannot make {folder}: {error.strerror}", hint="choose another --results folder"
        ) from error
    host = Host(schema=SCHEMA, run=run, tag=folder.name, clock=clock())
    write_atomically(folder / HOST, as_json(host) + b"\n")


def read_host(folder: Path) -> Host:
    """Return whose records these are. Raises ResultsError when it is not such a folder."""
    absent = ResultsError(f"{folder} has no {HOST}", hint="it is no folder of a host's records")
    named = f"{folder} has the schema of hosts"
    return read_versioned(folder / HOST, Host, newest=SCHEMA, named=named, absent=absent)
