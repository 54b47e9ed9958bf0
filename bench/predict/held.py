"""Does one run hold an objective? A run is a noisy measurement, so the answer may be: unclear.

Of each limit the part of the requests is counted that were slower, or had no answer. A quantile is
below its limit where that part is below what the quantile leaves; that the interval of the part
excludes this is the same as that the quantile's interval of order statistics excludes the limit.

The interval is Wilson's (1927, Probable Inference), of so many requests as count: near the knee
requests are slow in bursts, so each tells less. By how much, the variance between batches of
successive requests says (batch means: Conway 1963, Some Tactical Problems in Digital Simulation).
"""

import math
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

PARTS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
"""The quantiles that may have a limit, and the part of the requests below each."""

SURE_Z = 1.959964
"""Of the last word on a run: 95 %."""

EARLY_Z = 2.807
"""Of a word before its end: 99.5 %, because there are several occasions to be wrong."""

EASILY = 0.5
BATCHES = 20

Floats = npt.NDArray[np.float64]


class Objective(msgspec.Struct, frozen=True):
    """What is to be held: `limits_ms` by the name of the quantile, and the part of the requests
    that may have no answer, `max_error`.
    """

    limits_ms: dict[str, float]
    max_error: float = 0.001

    @property
    def strictest(self) -> str:
        """The limit that holds of most requests."""
        return max(self.limits_ms, key=PARTS.__getitem__)

    @property
    def slowest_ms(self) -> float:
        """The longest of the limits."""
        return max(self.limits_ms.values())


class Held(msgspec.Struct, frozen=True):
    """Whether a run held the objective, None where that is unclear, and of what that was judged.

    `broke` is the limit that was broken: a quantile's name, or `errors`. `late` is the part of the
    requests that were slower than each limit or had no answer, with its interval; `good` the part
    that was answered within the limit that holds of most.
    """

    held: bool | None
    broke: str | None
    requests: int
    late: dict[str, tuple[float, float, float]]
    failed: float
    good: float


def held(objective: Objective, latencies_ms: Floats, *, sure_z: float = SURE_Z) -> Held:
    """Judge a run by the latencies of its requests in the order in which they were due; one without
    an answer has an infinite one.

    Errors only break an objective where they are shown to: to show that they are fewer than one in
    a thousand would take thousands of requests.
    """
    count = len(latencies_ms)
    if not count:
        return Held(None, None, 0, {}, 0.0, 0.0)
    verdicts: dict[str, bool | None] = {}
    late = {}
    for name, limit_ms in objective.limits_ms.items():
        allowed = 1 - PARTS[name]
        late[name] = _, low, high = part(latencies_ms > limit_ms, sure_z=sure_z)
        verdicts[name] = False if low > allowed else True if high < allowed else None
    failed, low, _ = part(np.isinf(latencies_ms), sure_z=sure_z)
    if failed > objective.max_error:
        verdicts["errors"] = False if low > objective.max_error else None
    broke = next((name for name, verdict in verdicts.items() if verdict is False), None)
    whole = False if broke else None if None in verdicts.values() else True
    good = float((latencies_ms <= objective.limits_ms[objective.strictest]).mean())
    return Held(whole, broke, count, late, failed, good)


def is_clear(objective: Objective, latencies_ms: Floats) -> bool:
    """Whether a run that still goes on may end, by what is known of it so far.

    One that breaks the objective must do so in its later half alone too: a machine that stood still
    for a moment recovers, one that is given too much does not. One that holds it must hold EASILY
    of the limits too: a queue that grows slowly takes its time to show.
    """
    verdict = held(objective, latencies_ms, sure_z=EARLY_Z).held
    if verdict is False:
        later = latencies_ms[len(latencies_ms) // 2 :]
        return held(objective, later, sure_z=EARLY_Z).held is False
    if verdict is None:
        return False
    easily = {name: EASILY * ms for name, ms in objective.limits_ms.items()}
    easy = Objective(easily, objective.max_error)
    return bool(held(easy, latencies_ms, sure_z=EARLY_Z).held)


def part(happened: npt.NDArray[np.bool_], *, sure_z: float) -> tuple[float, float, float]:
    """Return the part of the requests to which something happened, and its interval."""
    count, mean = len(happened), float(happened.mean())
    told = count / _spread(happened)
    square = sure_z**2
    middle = (mean + square / (2 * told)) / (1 + square / told)
    reach = sure_z * math.sqrt(mean * (1 - mean) / told + square / (4 * told**2))
    reach /= 1 + square / told
    return mean, max(0.0, middle - reach), min(1.0, middle + reach)


def _spread(happened: npt.NDArray[np.bool_]) -> float:
    """How much larger the variance is than if requests were independent; 1 at least."""
    size, mean = len(happened) // BATCHES, float(happened.mean())
    if size < 1 or not 0 < mean < 1:
        return 1.0
    batches = happened[: size * BATCHES].reshape(BATCHES, size).mean(axis=1)
    return max(1.0, float(batches.var(ddof=1)) * size / (mean * (1 - mean)))


def needed(limits: Mapping[str, float]) -> int:
    """Return how many requests a run needs at least so that it can be said to hold the limits."""
    strictest = max(PARTS[name] for name in limits)
    return math.ceil(SURE_Z**2 * strictest / (1 - strictest))
