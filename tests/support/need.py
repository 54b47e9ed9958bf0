"""What tests need and a machine may lack: how each is found, and which command brings it."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from lan import possible

from pipelines.engines import cuda_shm
from pipelines.errors import EngineError
from pipelines.servers import kafka


def on_path(*names: str) -> str | None:
    """The first program of these that is on PATH."""
    return next(filter(None, map(shutil.which, names)), None)


def _gpu() -> bool:
    try:
        cuda_shm.check()
    except EngineError:
        return False
    return True


@dataclass(frozen=True)
class Need:
    """Something optional: programs of which one must be on PATH, or what else finds it."""

    cure: str
    programs: tuple[str, ...] = ()
    found: Callable[[], object] | None = None
    in_ci: bool = True
    """Whether CI has it, so that its absence there is a failure."""

    def is_there(self) -> bool:
        """Whether this machine has it."""
        return bool(self.found() if self.found else on_path(*self.programs))


NEEDS = {
    "java": Need("apt install openjdk-17-jre-headless", ("java",)),
    "kafka": Need("make kafka", found=lambda: any(kafka.JARS.glob("kafka_*.jar"))),
    "chromium": Need("apt install chromium", ("chromium", "chromium-browser", "chrome")),
    "prometheus": Need("apt install prometheus", ("prometheus",)),
    "shellcheck": Need("apt install shellcheck", ("shellcheck",)),
    "pyarrow": Need(".venv/bin/uv pip install -e .[parquet]", found=lambda: find_spec("pyarrow")),
    "compiler": Need("apt install g++", ("c++", "g++", "clang++")),
    "openssl": Need("apt install openssl", ("openssl",)),
    "sshd": Need("apt install openssh-server", found=lambda: Path("/usr/sbin/sshd").exists()),
    "namespaces": Need(
        "run it as root, with iproute2 and /dev/net/tun", found=possible, in_ci=False
    ),
    "kubectl": Need("install kubectl 1.22, or newer", ("kubectl",), in_ci=False),
    "gpu": Need(".venv/bin/uv pip install -e .[gpu], beside a GPU", found=_gpu, in_ci=False),
}

hidden: set[str] = set()
"""Which of NEEDS count as absent."""


def need(*names: str) -> None:
    """Skip where one of NEEDS is absent; fail in CI, which has all but what it cannot have."""
    for name in names:
        if name in hidden:
            pytest.skip(f"{name} is hidden: leave it out of WITHOUT")
        if not NEEDS[name].is_there():
            _lacking(f"{name} is missing: {NEEDS[name].cure}", fails=NEEDS[name].in_ci)


def need_built(condition: object, lacking: str, cure: str = "make setup") -> None:
    """Skip where something that setup brings is not there; fail in CI."""
    if not condition:
        _lacking(f"{lacking}: {cure}", fails=True)


def _lacking(reason: str, *, fails: bool) -> None:
    if fails and os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def hide(names: Iterable[str]) -> None:
    """Hide some of NEEDS from this process and from all that it starts.

    Each folder of PATH with a program of theirs is replaced by one of links to its other programs.
    """
    hidden.update(names)
    if not hidden:
        return
    shadows = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, shadows)
    programs = {program for name in hidden for program in NEEDS[name].programs}
    folders = os.environ["PATH"].split(os.pathsep)
    for number, folder in enumerate(folders):
        if any(Path(folder, program).exists() for program in programs):
            folders[number] = str(shadows / str(number))
            Path(folders[number]).mkdir()
            for path in Path(folder).iterdir():
                if path.name not in programs:
                    Path(folders[number], path.name).symlink_to(path)
    os.environ["PATH"] = os.pathsep.join(folders)
    if "kafka" in hidden:
        kafka.JARS = shadows / "kafka"
