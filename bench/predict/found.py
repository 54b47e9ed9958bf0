"""What a search for the rate that holds an objective has found, with the evidence for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bench.ledger.quantiles import Quantile
from bench.ledger.summary import Summary
from bench.predict.held import Held, Objective
from bench.predict.points import Measured
from bench.predict.saturation import GENERATOR, Saturation, saturation
from bench.predict.search import (
    ABOVE,
    BELOW,
    SPENT,
    Belief,
    Probe,
    Terms,
    belief,
    ended,
)

SCHEMA = 1

CORNERED = 0.25
"""Without a pair of probes of which one held, the stage that breaks is looked for among all."""


@dataclass(frozen=True)
class Probed:
    """A run at a rate, and whether it held."""

    run: Measured
    held: Held

    @property
    def probe(self) -> Probe:
        """What the search needs of it."""
        return Probe(self.run.load, self.held.held)


DISTURBED = frozenset({"STEAL", "FOREIGN", "CLOCK_STEP"})
"""Issues of a machine that had something else to do."""


def undisturbed(judged: Held, summary: Summary) -> Held:
    """Return what was judged; that a run broke says nothing where the machine was disturbed."""
    if judged.held is False and DISTURBED & {issue.code for issue in summary.issues}:
        return msgspec.structs.replace(judged, held=None)
    return judged


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A probe as evidence: whether it `held`, null where that is unclear, and the limit that it
    `broke`. `late` is the part of its requests that were slower than each limit, or had no answer,
    with its interval; `failed` the part without an answer. `quantiles` are as measured, in ms.
    """

    rate: float
    held: bool | None
    broke: str | None
    run: str
    valid: bool
    issues: list[str]
    duration_s: float
    requests: int
    throughput_per_s: float
    good_per_s: float
    failed: float
    late: dict[str, tuple[float, float, float]]
    quantiles: dict[str, Quantile]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench slo --format json` prints.

    `ended` says how the search ended: found, below the floor, above the ceiling, or spent. The
    `rate` lies between `low` and `high` by 95 %; None where not even the lowest rate held, and
    where the highest did only `low` is known. `best` is the place in `probes` of the highest rate
    that held, up to `high`; what follows is of that: answers a second within the limit, the
    megapixels of their images, and images a second for each core of the machine. `breaks` is what
    saturates beyond. `most_per_s` came through when as many as may be were always under way.
    """

    schema: int
    pipeline: str
    settings: dict[str, str]
    machine: str
    limits_ms: dict[str, float]
    max_error: float
    ended: str
    rate: float | None
    low: float | None
    high: float | None
    best: int | None
    goodput_per_s: float | None
    megapixels_per_s: float | None
    images_per_core_s: float | None
    breaks: Saturation | None
    most_per_s: float
    floor: float
    ceiling: float
    probes: list[Row]

    @property
    def by_generator(self) -> bool:
        """Whether the load generator, and not the server, is what broke."""
        return self.breaks is not None and self.breaks.resource == GENERATOR


def found_of(
    probed: Sequence[Probed],
    *,
    objective: Objective,
    terms: Terms,
    settings: dict[str, str],
    most_per_s: float,
) -> Found:
    """Return what the probes, one at least, come to."""
    probes = [one.probe for one in probed]
    how = ended(probes, terms) or SPENT
    believed = _interval(probes, terms, how)
    best = _best(probed, believed)
    first = probed[0].run.summary
    goodput = megapixels = each_core = None
    if best is not None:
        at = probed[best]
        goodput = _good(at)
        if px := at.run.summary.image_px:
            megapixels = goodput * px[0] * px[1] / 1e6
        # The cores of a server that was attached to are not known.
        if (cores := at.run.summary.cores) and at.run.summary.level is None:
            each_core = goodput / cores
    return Found(
        schema=SCHEMA,
        pipeline=first.pipeline,
        settings=settings,
        machine=first.machine,
        limits_ms=objective.limits_ms,
        max_error=objective.max_error,
        ended=how,
        rate=believed.rate if believed and how != ABOVE else None,
        low=believed.low if believed else None,
        high=believed.high if believed and how != ABOVE else None,
        best=best,
        goodput_per_s=goodput,
        megapixels_per_s=megapixels,
        images_per_core_s=each_core,
        breaks=_breaks(probed),
        most_per_s=most_per_s,
        floor=terms.floor,
        ceiling=terms.ceiling,
        probes=[_row(one) for one in probed],
    )


def _interval(probes: Sequence[Probe], terms: Terms, how: str) -> Belief | None:
    if how == BELOW:
        return None
    if how == ABOVE:
        highest = max(one.rate for one in probes if one.held)
        return Belief(highest, highest, highest)
    return belief(probes, terms)


def _best(probed: Sequence[Probed], believed: Belief | None) -> int | None:
    """The place of the highest rate that held, of those that are believed to."""
    held = [
        (one.run.load, place)
        for place, one in enumerate(probed)
        if one.held.held and believed and one.run.load <= believed.high
    ]
    return max(held)[1] if held else None


def _breaks(probed: Sequence[Probed]) -> Saturation | None:
    """What the lowest rate that broke waits for, beside the lowest of all; at the rate itself it
    may have been a burst, so from a quarter above on where there is one.
    """
    broken = sorted((one for one in probed if one.held.held is False), key=lambda o: o.run.load)
    lowest = min(probed, key=lambda one: one.run.load)
    others = [one for one in broken if one.run.load > lowest.run.load]
    if not others:
        return None
    far = [one for one in others if one.run.load >= (1 + CORNERED) * others[0].run.load]
    return saturation(lowest.run, (far or others[-1:])[0].run)


def _good(one: Probed) -> float:
    """Answers within the limit that holds of most, a second."""
    told = one.run.summary
    return one.held.good * one.held.requests / told.duration_s if told.duration_s else 0.0


def _row(one: Probed) -> Row:
    told, judged = one.run.summary, one.held
    return Row(
        rate=one.run.load,
        held=judged.held,
        broke=judged.broke,
        run=told.run,
        valid=told.valid,
        issues=[issue.code for issue in told.issues if issue.invalid],
        duration_s=told.duration_s,
        requests=judged.requests,
        throughput_per_s=told.throughput_per_s,
        good_per_s=_good(one),
        failed=judged.failed,
        late=judged.late,
        quantiles=told.latency_ms.quantiles if told.latency_ms else {},
    )
