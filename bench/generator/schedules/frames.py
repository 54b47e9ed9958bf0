"""Frames of cameras: each has its own phase, and gives frames at its rate, come what may."""

import re

import numpy as np

from bench.generator.schedules.arrivals import BLOCK, Floats
from pipelines.errors import VisiontaxError

_FORM = re.compile(r"(\d+)\s*@\s*(\d+(?:\.\d+)?)")


def parse(text: str) -> tuple[int, float]:
    """Read `8@25`: so many cameras, and the frames of each a second. Raises VisiontaxError."""
    found = _FORM.fullmatch(text.strip())
    if not found or not int(found[1]) or not float(found[2]):
        raise VisiontaxError(
            f"not cameras: {text!r}", hint="write 8@25 for eight cameras of 25 frames a second"
        )
    return int(found[1]), float(found[2])


class Frames:
    """The moments of all cameras' frames, in their order: frame N is of camera N % `cameras`."""

    def __init__(self, text: str, *, seed: int) -> None:
        """Take the cameras as `parse` reads them; raises as it does."""
        self.cameras, self._per_s = parse(text)
        self._phases = np.sort(np.random.default_rng(seed).random(self.cameras)) / self._per_s

    def times(self, block: int) -> Floats:
        """Return the seconds from the start of the frames BLOCK * block and on."""
        number = BLOCK * block + np.arange(BLOCK)
        turn, camera = np.divmod(number, self.cameras)
        return turn / self._per_s + self._phases[camera]
