"""A child: when it is ready, why it has died, and that it ends; and that there is no other way."""

import ast
import signal
from pathlib import Path

import pytest
from processes import PYTHON, ROOT, TIMEOUT_S, family, wait_gone

from pipelines import processes
from pipelines.errors import ServerError
from pipelines.processes import Child, answered, logged

DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
apart = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
print("ready", flush=True)
time.sleep(600)
"""

STUCK = """
import time
from pipelines import processes
processes.ENDS_WITHIN_S = processes.AGAIN_S = 1.0
processes.end_on_signals()
print("ready", flush=True)
while True:
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        print("told", flush=True)
        if (told := globals().get("told", 0) + 1) == 3:
            raise
"""


def child(code: str, log: Path, **how: object) -> Child:
    command = [PYTHON, "-c", code]
    return Child("it", command, log=log, folder=ROOT, is_ready=logged("ready"), **how)


def test_one_that_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    with child(DEAF, tmp_path / "log", patience_s=0.2) as deaf:
        deaf.wait_ready()
        members = family(deaf.process)
        assert len(members) == 2
    assert deaf.process.returncode == -signal.SIGKILL
    wait_gone(members)


@pytest.mark.parametrize(
    ("code", "words", "hint"),
    [
        ("", "it stopped while starting: it said nothing", "see "),
        ("print('one'); print('two')", "it stopped while starting: two", "see "),
        ("print('error: no\\nhint: yes\\nmore')", "it stopped while starting: no", "yes"),
        ("import time; time.sleep(600)", "it was not ready after 0 s", "see "),
    ],
)
def test_it_is_said_why_one_is_not_ready(tmp_path, code: str, words: str, hint: str) -> None:
    late = "sleep" in code
    with (
        child(code, tmp_path / "log", start_timeout_s=0.3 if late else 60) as failing,
        pytest.raises(ServerError) as raised,
    ):
        failing.wait_ready()
    assert not failing.alive
    assert str(raised.value) == words
    assert raised.value.hint.startswith(hint)


def test_one_that_is_piped_ends_with_its_input() -> None:
    code = "import sys; print('here', flush=True); sys.stdin.read()"
    with Child("it", [PYTHON, "-c", code], piped=True, is_ready=answered) as piped:
        piped.wait_ready()
        assert piped.alive
    assert piped.process.returncode == 0


def test_who_swallows_a_ctrl_c_is_told_again(tmp_path: Path) -> None:
    with child(STUCK, tmp_path / "log") as stuck:
        stuck.wait_ready()
        stuck.process.send_signal(signal.SIGINT)
        stuck.wait(TIMEOUT_S)
        assert stuck.process.returncode == -signal.SIGINT
        assert stuck.lines().count("told") == 3


def test_a_port_is_free_and_so_are_the_next_ones() -> None:
    ports = [processes.free_port(count=3) for _ in range(3)]  # others may take one meanwhile
    assert any(all(processes.is_free(port + each) for each in range(3)) for port in ports)


def test_nothing_else_starts_or_signals_processes() -> None:
    """Beside what is run to its end, by subprocess.run with a time limit, and the guard of Triton,
    which stands alone.
    """
    folders = [ROOT / name for name in ("bench", "pipelines", "tests/support")]
    calls = [
        (path.relative_to(ROOT), node.func.attr)
        for path in sorted(path for folder in folders for path in folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    owners = {Path("pipelines/processes.py"), Path("pipelines/servers/launch/guard.py")}
    starting = {"Popen", "killpg", "fork", "signal", "setitimer", "bind"}
    assert {path for path, name in calls if name in starting} == owners
