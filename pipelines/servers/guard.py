"""Runs a server whose own processes may outlive it, and ends what is left of them when it ends.

A program of the standard library only: `guard.py REGIONS COMMAND...`, to be started as a Child, the
head of its group. Triton that is ended while it starts leaves its models' processes waiting for it,
and in /dev/shm regions whose names begin with REGIONS.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

ENDING = (signal.SIGINT, signal.SIGTERM)
PATIENCE_S = 30
"""How long the server has to end: whoever started it may be gone, and no one else would end it."""


def main(regions: str, *command: str) -> int:
    """Run the command; return its exit code, or end by the signal that ended it."""
    server = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command])

    def ask(*_: object) -> None:
        # A killed parent of several threads has the kernel tell us several times, and a server that
        # is told twice may give up in the middle.
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        server.send_signal(signal.SIGINT)
        signal.alarm(PATIENCE_S)

    signal.signal(signal.SIGALRM, lambda *_: server.kill())
    for number in ENDING:
        signal.signal(number, ask)
    code = server.wait()
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
