"""Runs a server whose own processes may outlive it, and ends what is left of them when it ends.

A program of the standard library only: `guard.py REGIONS COMMAND...`, to be started as a Child, the
head of its group. Triton that is ended while it starts leaves its models' processes waiting for it,
and in /dev/shm regions whose names begin with REGIONS. Of one that ends unasked its log says when
and how.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ENDING = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S = 30
"""How long the server has to end: whoever started it may be gone, and no one else would end it."""

_LINES = 40
"""How many of its last lines are told: a stack may be among them."""


_ENDED = "guard: the server ended by itself: "


class Ending(NamedTuple):
    """How a server ended by itself: "SIGSEGV" or "code 1", when, and its last lines before that."""

    how: str
    time_ns: int
    lines: list[str]


def ending_of(log: Path) -> Ending | None:
    """Return how the server ended whose log that is; None of one that runs, or was asked to end.

    The time is of the monotonic clock.
    """
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return None
    told = next((at for at, line in enumerate(lines) if line.startswith(_ENDED)), None)
    if told is None:
        return None
    time_ns, _, how = lines[told].removeprefix(_ENDED).partition(" ")
    said = [line for line in lines[:told] if line.strip()]
    return Ending(how, int(time_ns), said[-_LINES:])


def main(regions: str, *command: str) -> int:
    """Run the command; return its exit code, or end by the signal that ended it."""
    server = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command])
    asked = False

    def ask(*_: object) -> None:
        # A killed parent of several threads has the kernel tell us several times, and a server that
        # is told twice may give up in the middle.
        nonlocal asked
        asked = True
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        server.send_signal(signal.SIGINT)
        signal.alarm(PATIENCE_S)

    signal.signal(signal.SIGALRM, lambda *_: server.kill())
    for number in ENDING:
        signal.signal(number, ask)
    code = server.wait()
    if not asked:
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        print(f"\n{_ENDED}{time.monotonic_ns()} {how}", file=sys.stderr, flush=True)
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        with contextlib.suppress(ProcessLookupError):
            if pid != os.getpid() and os.getpgid(pid) == os.getpgrp():
                os.kill(pid, signal.SIGKILL)
    for path in Path("/dev/shm").glob(f"{regions}*"):
        path.unlink(missing_ok=True)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL always does what it does
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
