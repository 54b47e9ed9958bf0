"""The guard of servers: how they are told to end, and that they do."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

import pytest
from processes import PYTHON, ended, family, started, until, wait_gone

GUARDING = """
import sys
from pipelines.servers.launch import guard
guard.PATIENCE_S = int(sys.argv.pop(1))
sys.exit(guard.main("visiontax-nothing-", *sys.argv[1:]))
"""

SERVING = """
import pathlib, signal, subprocess, sys, time
told, stuck = pathlib.Path(sys.argv[1]), sys.argv[2] == "stuck"
signal.signal(signal.SIGINT, lambda *_: told.open("a").write("told\\n"))
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
told.touch()
while stuck or not told.read_text():
    time.sleep(0.05)
time.sleep(0.3)
"""


def heeds(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(re.findall(r"^SigCgt:\s*(\w+)$", status, re.MULTILINE)[0], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize(
    ("kind", "patience_s", "code"), [("calm", 600, 0), ("stuck", 5, -signal.SIGKILL)]
)
def test_a_server_is_told_once_and_nothing_is_left(
    tmp_path: Path, kind: str, patience_s: int, code: int
) -> None:
    told = tmp_path / "told"
    command = (PYTHON, "-c", GUARDING, patience_s, PYTHON, "-c", SERVING, told, kind)
    with started(tuple(map(str, command)), log=tmp_path / "log") as process:
        until(lambda: told.exists() and len(family(process)) == 3, "it serves")
        until(lambda: heeds(process.pid, signal.SIGTERM), "it is guarded")
        everything = family(process)
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            time.sleep(0.05)
        assert ended(process) == code
        wait_gone(everything)
    assert told.read_text() == "told\n"
