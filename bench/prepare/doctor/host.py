"""The machine as the checks of `bench doctor` see it, and what one of them finds."""

import ctypes.util
import importlib.util
import platform
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bench.prepare import tensorrt
from bench.record.machine import machine, powercap, version_of, versions
from pipelines.processes import output_of
from pipelines.servers import device, triton

State = Literal["ok", "missing", "optional"]


@dataclass(frozen=True)
class Check:
    """One finding. `optional` says that something is absent which only some uses need.

    `cure` is empty when the state is ok.
    """

    name: str
    state: State
    detail: str
    cure: str = ""


def need(name: str, present: object, detail: str, *, cure: str, absent: State = "missing") -> Check:
    """Return the finding about something that every run needs."""
    return Check(name, "ok", detail) if present else Check(name, absent, detail, cure)


wish = partial(need, absent="optional")
"""Return the finding about something that only some uses need."""


@dataclass(frozen=True)
class Host:
    """What the checks look at, of the project in `root`: this machine, unless told otherwise.

    `library` finds a shared library by its short name, and `module` a Python module's place.
    """

    root: Path
    shm: Path = Path("/dev/shm")
    powercap: Path = field(default_factory=powercap)
    python: str = platform.python_version()
    libdir: str = sysconfig.get_config_var("LIBDIR") or ""
    gpus: list[str] = field(default_factory=device.present)
    facts: dict[str, Any] = field(default_factory=machine)
    versions: dict[str, str] = field(default_factory=versions)
    version_of: Callable[[str], str | None] = version_of
    which: Callable[[str], str | None] = shutil.which
    library: Callable[[str], str | None] = ctypes.util.find_library
    module: Callable[[str], Any] = importlib.util.find_spec
    trtexec: Callable[[], str | None] = tensorrt.trtexec
    server: Callable[[], triton.Installation] = triton.installation
    disk_usage: Callable[[Path], Any] = shutil.disk_usage
    says: Callable[..., str] = output_of

    @property
    def python_line(self) -> str:
        """The version that libraries and stubs are named after: "3.11"."""
        return ".".join(self.python.split(".")[:2])
