"""Removes what our processes left behind when they were killed before they could."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

PREFIX = "visiontax"
"""Our regions of shared memory are named PREFIX-<pid>-..."""


def sweep_shared_memory(folder: Path = Path("/dev/shm")) -> None:
    """Remove the regions of processes that are gone."""
    for path in folder.glob(f"{PREFIX}-*"):
        if _gone(path.name.split("-")[1]):
            path.unlink(missing_ok=True)


def sweep_folders(folder: Path, *, name: str) -> None:
    """Remove the subfolder `name` of each folder `<pid>` or `...-<pid>` whose process is gone."""
    for path in folder.glob(f"*/{name}"):
        pid = re.search(r"(?:^|-)(\d+)$", path.parent.name)
        if pid and _gone(pid[1]):
            shutil.rmtree(path, ignore_errors=True)


def abandoned(names: Iterable[str], prefix: str) -> list[str]:
    """Return those that are named `<prefix>-<pid>-...` after a process that is gone."""
    owned = [(name, name.split("-")) for name in names if name.startswith(f"{prefix}-")]
    return [name for name, parts in owned if _gone(parts[1])]


def _gone(pid: str) -> bool:
    return pid.isdigit() and not Path(f"/proc/{pid}").exists()
