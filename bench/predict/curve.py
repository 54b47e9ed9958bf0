"""A curve: what comes through, and how late, at each of several loads; where it bends, and on what.

Which loads there are to be is a function of those that there were, so that a curve can be gone on
with.
"""

from collections.abc import Sequence

import msgspec

from bench.predict.knee import Knee, knee
from bench.predict.points import Measured, Point, point
from bench.predict.saturation import Saturation, saturation
from pipelines.errors import VisiontaxError

SCHEMA = 1
PARTS = (0.2, 0.4, 0.6, 0.75, 0.85, 0.95, 1.05, 1.15, 1.3, 1.5)
"""Of what comes through when as many requests as may be are always under way: the loads of a curve
over rates, where the user says none.
"""

MOST_USERS = 256
GAIN = 1.04
"""With twice as many users throughput must grow by that, or it has grown enough."""

BEYOND = 2
"""So many points beyond the knee are enough."""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench curve --format json` prints: what all runs share, and the points in the order of
    their loads, of which one `sweep`s `rate` or `users`.

    `knee` is None where throughput grew to the last point, `saturates` where nothing got slower.
    """

    schema: int
    sweep: str
    pipeline: str
    settings: dict[str, str]
    machine: str
    duration_s: float
    points: list[Point]
    knee: Knee | None
    saturates: Saturation | None


def curve_of(
    runs: Sequence[Measured], *, sweep: str, settings: dict[str, str], duration_s: float
) -> Curve:
    """Return the curve of the runs. Raises VisiontaxError when there are none."""
    if not runs:
        raise VisiontaxError("there is no curve of no runs")
    ordered = sorted(runs, key=lambda one: one.load)
    first = ordered[0].summary
    bend = knee(
        [_came(one) for one in ordered],
        [one.summary.throughput_per_s for one in ordered],
        closed=sweep == "users",
    )
    return Curve(
        schema=SCHEMA,
        sweep=sweep,
        pipeline=first.pipeline,
        settings=settings,
        machine=first.machine,
        duration_s=duration_s,
        points=[point(one) for one in ordered],
        knee=bend,
        saturates=_saturates(ordered, bend),
    )


def _came(one: Measured) -> float:
    """The load as it came to be: at random times it is not quite what was asked for."""
    offered = one.summary.offered_per_s
    return one.load if offered is None else offered


def _saturates(ordered: Sequence[Measured], bend: Knee | None) -> Saturation | None:
    """What the least load beyond the knee waits for, beside the least of all; of a closed loop the
    most users, for which beyond the knee it grows with each.
    """
    beyond = [one for one in ordered if bend and _came(one) > bend.at]
    if not bend or not beyond or beyond[0] is ordered[0]:
        return None
    return saturation(ordered[0], beyond[min(len(beyond), BEYOND) - 1])


def next_load(sweep: str, asked: Sequence[float], done: Sequence[Measured]) -> float | None:
    """Return the next load, None when there are enough; `asked` are those that the user said.

    Without any, the first point of a sweep over rates is a closed loop, under the load 0, which
    shows what comes through at most; users are doubled until throughput grows no more.
    """
    if asked:
        return asked[len(done)] if len(done) < len(asked) else None
    if sweep == "rate":
        if not done:
            return 0.0
        most = done[0].summary.throughput_per_s
        if not most:
            raise VisiontaxError("nothing came through", hint="'bench run' says why")
        number = len(done) - 1
        return _round(PARTS[number] * most) if number < len(PARTS) else None
    came = [one.summary.throughput_per_s for one in done]
    flat = [later < GAIN * max(came[:at]) for at, later in enumerate(came) if at]
    users = 2.0 ** len(done)
    return None if sum(flat) >= BEYOND + 1 or users > MOST_USERS else users


def steps_left(sweep: str, asked: Sequence[float], done: int) -> int:
    """Return how many more points there will be, about."""
    whole = len(asked) or (1 + len(PARTS) if sweep == "rate" else 7)
    return max(1, whole - done)


def _round(rate: float) -> float:
    """Three digits are enough for a load."""
    return float(f"{rate:.3g}")
