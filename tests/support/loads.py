"""Loads as users start them, and what is left of them."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import BENCH, bench, started, until

from bench.ledger.verdict import judge, surroundings

OF_A_BUSY_MACHINE = {"GENERATOR_LATE", "OTHER", "STEAL"}
"""What invalidates a run where other programs, or other guests of the host, keep the cores."""


@pytest.fixture
def forgiving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores that others keep invalidate no run that is judged in this process."""
    for limit in ("SCHEDULE_AT_MOST", "OTHER_AT_MOST"):
        monkeypatch.setattr(judge, limit, 1.0)
    monkeypatch.setattr(surroundings, "STEAL_INVALID_FROM", 1.0)


COLD = ("--warmup", "0s")
RUN = (*BENCH, "run", "classification")
SMALL = ("--images", "small", "--warmup", "0.5s")
CALM = ("--think", "10ms")
"""Leaves the cores to others, where it does not matter how much is asked."""


def report(folder: Path, *arguments: object) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the JSON of `bench report`."""
    done = bench("report", folder, "--format", "json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def codes(summary: dict[str, Any]) -> set[str]:
    return {issue["code"] for issue in summary["issues"]}


def invalid(summary: dict[str, Any]) -> set[str]:
    """The codes of what invalidates it."""
    return {issue["code"] for issue in summary["issues"] if issue["invalid"]}


def only_run(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*/requests-*.jsonl"))


def two_users(url: str, seconds: int) -> tuple[object, ...]:
    return ("--headless", "-u", 2, "-r", 2, "-t", f"{seconds}s", "--host", url)


@contextlib.contextmanager
def loaded(
    command: tuple[str, ...], *load: object, into: Path, enough: int = 200
) -> Iterator[subprocess.Popen[bytes]]:
    """A load of small images that has made so many requests; its log is beside its results."""
    log = into.with_name("log")
    with started(command, *SMALL, *load, "--results", into, log=log) as process:
        until(lambda: lines(into) >= enough, "requests")
        yield process
