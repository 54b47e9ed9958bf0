"""The folders in which runs and experiments are kept: how they are named and made."""

import os
import time
from pathlib import Path

from bench.record.scenario import Settings, title
from pipelines.errors import ResultsError

RESULTS = Path("results")


def make_folder(results: Path, settings: Settings) -> Path:
    """Make a run's folder, whose name says what is run. Raises as `new_folder` does."""
    return new_folder(results, title(settings))


def new_folder(results: Path, named: str) -> Path:
    """Make a folder whose name sorts by time.

    Raises ResultsError when the folder cannot be made or written, or the disk is nearly full.
    """
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{named}"
    for number in range(1000):
        folder = results / (f"{name}-{number}" if number else name)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if folder.parent.is_dir():
                continue
            raise ResultsError(f"{folder.parent} is not a folder") from None
        except OSError as error:
            raise ResultsError(
                f"cannot make {folder}: {error.strerror}", hint="choose another --results folder"
            ) from error
        _check_writable(folder)
        return folder
    raise ResultsError(f"too many runs named {name} in {results}")


def _check_writable(folder: Path) -> None:
    least_bytes = 256 << 20
    state = os.statvfs(folder)
    if state.f_bavail * state.f_frsize < least_bytes:
        folder.rmdir()
        raise ResultsError(
            f"less than {least_bytes >> 20} MB are free for results in {folder.parent}",
            hint="free some space, or choose another --results folder",
        )
    probe = folder / ".probe"
    try:
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise ResultsError(
            f"cannot write in {folder}: {error.strerror}", hint="choose another --results folder"
        ) from error
