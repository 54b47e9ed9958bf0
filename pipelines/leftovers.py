"""Says which process owns what outlives processes, and removes what those left that were killed.

What we own is named by its owner's tag, `<namespace>_<pid>`. A pid counts only where it was given:
in one PID namespace, of which every container has its own, of one boot of one machine. So nobody
takes another container's process for dead, and each removes only what was left in its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

PREFIX = "visiontax"
"""Our regions of shared memory are named PREFIX-<owner>-..."""


def owner(pid: int | None = None) -> str:
    """Return the tag of what this process, or another of its PID namespace, owns; without a `-`."""
    return f"{_namespace()}_{os.getpid() if pid is None else pid}"


def sweep_shared_memory(folder: Path = Path("/dev/shm")) -> None:
    """Remove the regions of processes that are gone, but for those of other users."""
    for name in abandoned((path.name for path in folder.iterdir()), PREFIX):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            (folder / name).unlink()


def sweep_folders(folder: Path, *, name: str) -> None:
    """Remove the subfolder `name` of each folder `<owner>` or `...-<owner>` that is gone.

    A bare pid is one of this PID namespace.
    """
    for path in folder.glob(f"*/{name}"):
        tag = path.parent.name.rpartition("-")[2]
        if _is_left(tag if "_" in tag else f"{_namespace()}_{tag}"):
            shutil.rmtree(path, ignore_errors=True)


def abandoned(names: Iterable[str], prefix: str) -> list[str]:
    """Return those that are named `<prefix>-<owner>-...` after a process that is gone."""
    owned = [name for name in names if name.startswith(f"{prefix}-")]
    return [name for name in owned if _is_left(name.removeprefix(f"{prefix}-").split("-")[0])]


def _is_left(tag: str) -> bool:
    """Whether the tag is of a process of this PID namespace, and that is gone."""
    namespace, _, pid = tag.rpartition("_")
    return namespace == _namespace() and pid.isdecimal() and _is_gone(int(pid))


def _namespace() -> str:
    """Eight hexadecimal digits for the PID namespace of this process, and the boot it is of."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    inode = Path("/proc/self/ns/pid").stat().st_ino
    return hashlib.sha256(f"{boot} {inode}".encode()).hexdigest()[:8]


def _is_gone(pid: int) -> bool:
    """Whether no process has the number, or one that has ended and is only not waited for."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except PermissionError:
        return False  # it is another user's
    except (OSError, OverflowError):
        return True
    return status.rpartition(")")[2].split()[0] in "ZX"
