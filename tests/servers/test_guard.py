"""The guard of servers: how they are told to end, and that they do."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from processes import PYTHON, ended, family, started, until, wait_gone

GUARDING = """
import sys
from pipelines.servers.launch import guard
guard.PATIENCE_S = 1
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


@pytest.mark.parametrize(("kind", "code"), [("calm", 0), ("stuck", -signal.SIGKILL)])
def test_a_server_is_told_once_and_nothing_is_left(tmp_path: Path, kind: str, code: int) -> None:
    told = tmp_path / "told"
    command = (PYTHON, "-c", GUARDING, PYTHON, "-c", SERVING, told, kind)
    with started(tuple(map(str, command)), log=tmp_path / "log") as process:
        until(lambda: told.exists() and len(family(process)) == 3, "it serves")
        everything = family(process)
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
            time.sleep(0.05)
        assert ended(process) == code
        wait_gone(everything)
    assert told.read_text() == "told\n"
