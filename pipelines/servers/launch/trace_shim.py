"""The library that Triton 2.51 is preloaded with, so that its tracing writes to no freed memory.

`trace_shim.cc` says how. `python -m pipelines.servers.launch.trace_shim` builds it, where there is
a C++ compiler; without it the server runs all the same, and may crash under a traced load.
"""

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

from pipelines.paths import BUILD
from pipelines.processes import run

SOURCE = Path(__file__).with_suffix(".cc")
LIBRARY = BUILD / "trace_shim.so"
WHEEL = "0.7.0"
"""Of nvidia-pytriton: the one with the Triton that needs it, which a newer one does not."""

CURE = "apt install g++, then 'make setup'"
_OPTIONS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra")


def compiler() -> str | None:
    """Return the C++ compiler of this machine, None where there is none."""
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return next(filter(None, map(shutil.which, filter(None, names))), None)


def build(library: Path = LIBRARY, *, source: Path = SOURCE) -> str:
    """Build it, or another `source`, as `library`, and return why that cannot be; nothing when it
    is built.
    """
    program = compiler()
    if program is None:
        return "there is no C++ compiler"
    library.parent.mkdir(parents=True, exist_ok=True)
    made = library.with_name(f"{library.name}.{os.getpid()}")  # a server may be loading it
    done = run([program, *_OPTIONS, "-o", str(made), str(source), "-ldl"])
    if done.returncode:
        made.unlink(missing_ok=True)
        return f"{program} failed: {done.stderr.strip()}"
    made.replace(library)
    return ""


def is_needed() -> bool:
    """Whether the installed Triton is the one whose tracing it mends."""
    try:
        return metadata.version("nvidia-pytriton") == WHEEL
    except metadata.PackageNotFoundError:
        return False


def preloading(library: Path = LIBRARY) -> list[str]:
    """Return the words before a command of Triton's that preload it; none where it is not built, is
    not needed, or has a path that the loader would split.
    """
    there = library.is_file() and not set(" :") & set(str(library))
    if not there or not is_needed():
        return []
    others = os.environ.get("LD_PRELOAD")
    return ["env", "LD_PRELOAD=" + ":".join(filter(None, (str(library), others)))]


if __name__ == "__main__":
    if why := build():
        said = f"note: Triton may crash when it is traced: {LIBRARY.name} is not built: {why}"
        print(f"{said}\n  hint: {CURE}", file=sys.stderr)
