"""Child processes that end with their parent, however that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO


def spawn(
    command: Sequence[str],
    *,
    output: BinaryIO,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start the command, in `folder`, as the head of a process group; what it says is `output`."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "--", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes], *, ask: signal.Signals, patience_s: float) -> None:
    """Ask it to end, and after `patience_s` leave nothing of its group."""
    end_all([process], ask=ask, patience_s=patience_s)


def end_all(
    processes: Sequence[subprocess.Popen[bytes]], *, ask: signal.Signals, patience_s: float
) -> None:
    """Ask all of them at once to end, and after `patience_s` each leave nothing of their groups."""
    try:
        for process in processes:
            if process.poll() is None:
                process.send_signal(ask)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
    finally:  # also after a second, impatient Ctrl-C
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_line(
    process: subprocess.Popen[bytes], log: Path, *, ending: str, timeout_s: float
) -> bool:
    """Wait until the last line in its log ends so; return False when it has ended before.

    Raises TimeoutError when neither is so after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not last_line(log).endswith(ending):
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)
    return True


def last_line(log: Path) -> str:
    """Return the last line of a log, or that there is none."""
    return (log.read_text(errors="replace").splitlines() or ["it said nothing"])[-1]


def complaint(log: Path) -> tuple[str, str] | None:
    """Return the error that a command of ours left in its log, and its hint; None without one."""
    lines = log.read_text(errors="replace").splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("error: "):
            hint = after.removeprefix("hint: ") if after.startswith("hint: ") else ""
            return line.removeprefix("error: "), hint
    return None
