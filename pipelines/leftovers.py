"""Removes what our processes left behind when they were killed before they could."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

PREFIX = "visiontax"
"""Our regions of shared memory are named PREFIX-<pid>-..."""


def sweep_shared_memory(folder: Path = Path("/dev/shm")) -> None:
    """Remove the regions of processes that are gone."""
    for path in folder.glob(f"{PREFIX}-*"):
        if _gone(path.name.split("-")[1]):
            path.unlink(missing_ok=True)


def sweep_servers(folder: Path, *, composed: str) -> None:
    """Remove the subfolder `composed` of each server folder whose process is gone; logs stay."""
    for path in folder.glob(f"*/{composed}"):
        pid = re.search(r"\d+$", path.parent.name)
        if pid and _gone(pid[0]):
            shutil.rmtree(path, ignore_errors=True)


def _gone(pid: str) -> bool:
    return pid.isdigit() and not Path(f"/proc/{pid}").exists()
