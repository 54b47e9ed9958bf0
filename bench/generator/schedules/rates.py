"""A rate over time, as people write it, and the moment by which so many arrivals have come.

120/s                     always
10/s..200/s in 60s        a ramp, then what it came to
50/s for 30s, 100/s for 30s, 200/s     steps; the last without an end
400/s on 1s off 3s        again and again; 400 a second while it is on
"""

import re
from dataclasses import dataclass

import numpy as np

from bench.generator.schedules.arrivals import Floats
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import seconds

EXAMPLES = "120/s, 10/s..200/s in 60s, 50/s for 30s, 100/s, or 400/s on 1s off 3s"
_RATE = r"(\d+(?:\.\d+)?)\s*/\s*(ms|s|m|h)"
_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_STEADY = re.compile(_RATE)
_STEP = re.compile(rf"{_RATE}\s+for\s+(\S+)")
_RAMP = re.compile(rf"{_RATE}\s*\.\.\s*{_RATE}\s+in\s+(\S+)")
_CYCLE = re.compile(rf"{_RATE}\s+on\s+(\S+)\s+off\s+(\S+)")


@dataclass(frozen=True)
class Piece:
    """From one rate to another, a second, in so many seconds."""

    seconds: float
    start: float
    end: float

    @property
    def arrivals(self) -> float:
        """How many come in it, in the mean."""
        return self.seconds * (self.start + self.end) / 2


@dataclass(frozen=True)
class Rate:
    """The pieces one after the other; again and again where it `repeats`, else the last rate of
    them goes on.
    """

    pieces: tuple[Piece, ...]
    repeats: bool = False

    def at(self, elapsed_s: float) -> float:
        """Return the rate at a moment, a second."""
        whole = sum(piece.seconds for piece in self.pieces)
        left = elapsed_s % whole if self.repeats else elapsed_s
        for piece in self.pieces:
            if left < piece.seconds:
                return piece.start + (piece.end - piece.start) * left / piece.seconds
            left -= piece.seconds
        return self.pieces[-1].end

    def stretched(self, units: Floats) -> Floats:
        """Return the seconds from the start by which so many arrivals have come.

        That is the inverse of the rate's integral: a process of rate one becomes one of this rate
        (time change; Cinlar, Introduction to Stochastic Processes, 1975, 4.7).
        """
        edges = np.cumsum([0.0, *(piece.arrivals for piece in self.pieces)])
        times = np.cumsum([0.0, *(piece.seconds for piece in self.pieces)])
        rounds, units = (
            np.divmod(units, edges[-1]) if self.repeats else (np.zeros_like(units), units)
        )
        which = np.clip(np.searchsorted(edges, units, side="right") - 1, 0, len(self.pieces) - 1)
        left = units - edges[which]
        start = np.array([piece.start for piece in self.pieces])[which]
        length = np.array([piece.seconds for piece in self.pieces])[which]
        slope = np.array([(p.end - p.start) / p.seconds for p in self.pieces])[which]
        inside = left <= np.array([piece.arrivals for piece in self.pieces])[which]
        root = np.sqrt(np.maximum(start**2 + 2 * slope * left, 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            within = np.where(start + root > 0, 2 * left / (start + root), 0.0)
            beyond = length + (left - edges[-1] + edges[-2]) / self.pieces[-1].end
        made: Floats = times[which] + np.where(inside, within, beyond) + rounds * times[-1]
        return made


def parse(text: str) -> Rate:
    """Read a rate. Raises VisiontaxError when it is none, or nothing would ever come."""
    rate = _read(text.strip())
    endless = not rate.repeats and rate.pieces[-1].end <= 0
    if endless or not sum(piece.arrivals for piece in rate.pieces):
        raise VisiontaxError(f"at the rate {text!r} nothing comes", hint=f"write {EXAMPLES}")
    return rate


def _read(text: str) -> Rate:
    if found := _RAMP.fullmatch(text):
        ends = _per_s(found[1], found[2]), _per_s(found[3], found[4])
        return Rate((Piece(_length(found[5]), *ends),))
    if found := _CYCLE.fullmatch(text):
        rate = _per_s(found[1], found[2])
        on, off = Piece(_length(found[3]), rate, rate), Piece(_length(found[4]), 0.0, 0.0)
        return Rate((on, off), repeats=True)
    *steps, last = (part.strip() for part in text.split(","))
    pieces = [_step(part, text) for part in steps]
    if found := _STEADY.fullmatch(last):
        steady = _per_s(found[1], found[2])
        return Rate((*pieces, Piece(1.0, steady, steady)))
    return Rate((*pieces, _step(last, text)))


def _step(part: str, text: str) -> Piece:
    found = _STEP.fullmatch(part)
    if not found:
        raise VisiontaxError(f"not a rate: {text!r}", hint=f"write {EXAMPLES}")
    rate = _per_s(found[1], found[2])
    return Piece(_length(found[3]), rate, rate)


def _per_s(number: str, unit: str) -> float:
    return float(number) / _UNITS_S[unit]


def _length(text: str) -> float:
    length_s = seconds(text)
    if length_s <= 0:
        raise VisiontaxError(f"a rate cannot last {text}", hint=f"write {EXAMPLES}")
    return length_s
