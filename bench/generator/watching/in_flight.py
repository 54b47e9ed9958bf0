"""What each user has in flight, and how many requests are, on record also when a decoder takes the
process with it.
"""

import mmap
import os
import time
from array import array
from pathlib import Path

import gevent
import msgspec

from bench.record.records import CROWD, Crowd
from pipelines.errors import ResultsError

_USERS = 16_384
_BYTES = array("i").itemsize
INTERVAL_S = 0.25


class InFlight:
    """A file in the run's folder with a place for each user, which the kernel keeps at a crash; and
    one with the Crowd of this process, a few times a second.
    """

    def __init__(self, folder: Path) -> None:
        """Raises ResultsError where the disk is full."""
        self._path = folder / f"in-flight-{os.getpid()}"
        self._requests, self._spent_ns = 0, 0
        try:
            with self._path.open("wb+") as file:
                os.posix_fallocate(file.fileno(), 0, _USERS * _BYTES)
                self._places = memoryview(mmap.mmap(file.fileno(), 0)).cast("i")
            self._crowd = (folder / CROWD.replace("*", str(os.getpid()))).open("ab", buffering=0)
        except OSError as error:
            raise ResultsError(f"cannot write {self._path}: {error.strerror}") from error
        self._writer = gevent.spawn(self._write_now_and_then)

    def set(self, user: int, image: int | None) -> None:
        """The user asks about the image with that number, or about none."""
        self._places[user % _USERS] = 0 if image is None else image + 1

    def begin(self, due_ns: int) -> None:
        """A request was due at that moment, and somebody is to ask it."""
        self._requests += 1
        self._spent_ns -= due_ns

    def end(self, end_ns: int) -> None:
        """One of them is over; at its `due_ns` where nobody asked it after all."""
        self._requests -= 1
        self._spent_ns += end_ns

    def _write_now_and_then(self) -> None:
        while True:
            now_ns = time.monotonic_ns()
            spent_ns = max(self._spent_ns + self._requests * now_ns, 0)
            line = msgspec.json.encode(Crowd(now_ns, self._requests, spent_ns)) + b"\n"
            try:
                self._crowd.write(line)
            except OSError:
                return  # the recorder says that the disk is full
            gevent.sleep(INTERVAL_S)

    def close(self) -> None:
        """Remove the file of the users."""
        self._writer.kill()
        self._crowd.close()
        self._path.unlink(missing_ok=True)


def left_in_flight(folder: Path) -> list[int]:
    """Return the numbers of the images that were in flight when generators of the run died."""
    found = array("i")
    for path in folder.glob("in-flight-*"):
        found.frombytes(path.read_bytes())
    return sorted({number - 1 for number in found if number})
