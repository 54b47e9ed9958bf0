"""Which image each user has in flight, on record also when a decoder takes the process with it."""

import mmap
import os
from array import array
from pathlib import Path

from pipelines.errors import ResultsError

_USERS = 16_384
_BYTES = array("i").itemsize


class InFlight:
    """A file in the run's folder with a place for each user, which the kernel keeps at a crash."""

    def __init__(self, folder: Path) -> None:
        """Raises ResultsError where the disk is full."""
        self._path = folder / f"in-flight-{os.getpid()}"
        try:
            with self._path.open("wb+") as file:
                os.posix_fallocate(file.fileno(), 0, _USERS * _BYTES)
                self._places = memoryview(mmap.mmap(file.fileno(), 0)).cast("i")
        except OSError as error:
            raise ResultsError(f"cannot write {self._path}: {error.strerror}") from error

    def set(self, user: int, image: int | None) -> None:
        """The user asks about the image with that number, or about none."""
        self._places[user % _USERS] = 0 if image is None else image + 1

    def close(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


def left_in_flight(folder: Path) -> list[int]:
    """Return the numbers of the images that were in flight when generators of the run died."""
    found = array("i")
    for path in folder.glob("in-flight-*"):
        found.frombytes(path.read_bytes())
    return sorted({number - 1 for number in found if number})
