"""Starting the real commands as a user would, and seeing that nothing of them stays behind."""

import contextlib
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.commands import cli
from pipelines.processes import Child, owner

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable
BENCH = (PYTHON, "-m", "bench")
LOCUST = (PYTHON, "-m", "locust", "-f", str(ROOT / "bench" / "load.py"))
FUZZ_S = float(os.environ.get("FUZZ_SECONDS", "4"))
"""How long each fuzzer goes on."""

TIMEOUT_S = 200.0
"""Far longer than anything takes that ends, also where the machine is busy."""


def environment(root: Path = ROOT) -> dict[str, str]:
    """This one with that checkout's packages, and without a make's that may run the suite."""
    ours = {name: os.environ[name] for name in os.environ if not re.match("MAKE|MFLAGS", name)}
    return ours | {"PYTHONPATH": str(root)}


def run(
    command: Sequence[str | Path],
    *arguments: object,
    root: Path = ROOT,
    folder: Path | None = None,
    timeout_s: float = TIMEOUT_S,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of that checkout to its end, in it unless there is another folder.

    Its stdin is closed, and `variables` are added to its environment.
    """
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=folder or root,
        env=environment(root) | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def write_program(path: Path, script: str, *, by: str = "/bin/sh") -> Path:
    """Write a script that can be run, by the shell or another program; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{by}\n{script}\n")
    path.chmod(0o755)
    return path


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Call `bench` as `run` would, but in this process: no packages are imported again."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(cli, "end_on_signals", lambda: None)  # signals are pytest's
        with pytest.raises(SystemExit) as ended:
            cli.main(list(map(str, arguments)))
    code = int(str(ended.value.code))
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


PROGRAMS = ("locust", "bench run")


def loading(program: str, *options: object) -> subprocess.CompletedProcess[str]:
    """Run the classification by one of PROGRAMS; by Locust for half a minute at most."""
    if program == "locust":
        named = ["--host" if option == "--server" else option for option in options]
        return run(LOCUST, "--headless", "-t", "30s", *named)
    return bench("run", "classification", *options)


def refused(*arguments: object, code: int, words: str | Iterable[str]) -> str:
    """Call `bench`, which must exit so and say these words; all that it says on stderr."""
    done = bench(*arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    wanted = [words] if isinstance(words, str) else words
    assert all(each in done.stderr for each in wanted), done.stderr
    return done.stderr


@contextlib.contextmanager
def started(
    command: tuple[str, ...], *arguments: object, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command with its output in `log`; afterwards kill what is left of it."""
    words = [*command, *map(str, arguments)]
    child = Child(command[0], words, log=log, folder=ROOT, environment=environment())
    try:
        yield child.process
    finally:
        child.kill()


def ended(process: subprocess.Popen[Any]) -> int:
    """Wait for its end; its exit code."""
    return process.wait(TIMEOUT_S)


def family(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    """The process and all that it started."""
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; psutil knows a process from a later one with its number."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def until(true: Callable[[], Any], what: str, *, timeout_s: float = TIMEOUT_S) -> Any:
    """Wait until the call gives something true, and return it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        result = true()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


def wait_gone(processes: list[psutil.Process]) -> None:
    """Fail unless all of the processes end soon."""
    until(lambda: not alive(processes), "everything ends")


def regions_of(process: subprocess.Popen[Any]) -> list[Path]:
    """What it, or a server that it has started, has left in shared memory."""
    tag = owner(process.pid)
    return [path for path in Path("/dev/shm").iterdir() if tag in path.name.split("-")]
