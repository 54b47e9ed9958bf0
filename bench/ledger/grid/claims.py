"""What "Beyond Inference" (DAC 2024) is known for, and what studies say to it on this machine.

Its setting is another one: a server with a GPU. So an effect is reproduced where it is about as
large as there, or larger; and the cell in which it is largest is named.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from bench.ledger.grid.found import Found, Point
from bench.ledger.quantiles import Quantile

ABOUT = 0.9
"""From so much of the paper's figure on, ours is about as large."""

REPRODUCED, NOT_HERE, UNTESTED = "reproduced here", "not here", "cannot be tested here"


class Claim(NamedTuple):
    """A claim: the paper's `figure` in words and as a number, the study that tests it with the
    values it is `given`, and the number `of` a cell and the one beside it, in `unit`. `why` says
    what explains the number, of the study and the cell that shows it most.
    """

    said: str
    figure: str
    number: float
    unit: str
    study: str
    given: Mapping[str, str]
    of: Callable[[Point, Point | None], Quantile | None]
    why: Callable[[Found, Point], str] = lambda *_: ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What is said to a claim here: `ours` and the cell that it is of, None where it is UNTESTED,
    and `why` that is so, or what explains it. `settings` are those that all of its study's runs
    share.
    """

    said: str
    figure: str
    unit: str
    study: str
    outcome: str
    ours: Quantile | None
    cell: str
    settings: dict[str, str]
    machine: str
    why: str


def _not_inference(point: Point, _: Point | None) -> Quantile | None:
    return point.values["not-inference"]


def _times(point: Point, beside: Point | None) -> Quantile | None:
    """The throughput over that of the cell beside, as far apart as the runs of both allow."""
    one, other = (at.values["throughput"] if at else None for at in (point, beside))
    if not (one and one.value and one.low and one.high):
        return None
    if not (other and other.value and other.low and other.high):
        return None
    return Quantile(one.value / other.value, one.low / other.high, one.high / other.low, 1)


def _lost(point: Point, beside: Point | None) -> Quantile | None:
    """How much of the throughput of the cell beside is lost, in percent."""
    times = _times(point, beside)
    if times is None or times.value is None or times.low is None or times.high is None:
        return None
    value, high, low = (100 * (1 - one) for one in (times.value, times.low, times.high))
    return Quantile(value, low, high, 1)


NO_RUNGS = ("default", "fastapi", "scaled", "limit")
"""What the ladder has beside its rungs."""


def _rung(point: Point, beside: Point | None) -> Quantile | None:
    """As `_times`, of the rungs alone."""
    return None if point.at.get("rung") in NO_RUNGS else _times(point, beside)


def _bounded(found: Found, point: Point) -> str:
    """What no server could exceed here, and how near the rung came to it."""
    limits = [one for one in found.points if one.cell == point.alone.get("throughput")]
    part = point.of_alone.get("throughput")
    if not limits or not limits[0].of_beside or part is None:
        return ""
    return (
        f"decoding and inference alone on all cores give {limits[0].of_beside:.2f} times the naive "
        f"client, which no server here can exceed; the rung has {100 * part:.0f} % of that"
    )


CLAIMS = (
    Claim(
        "Of the time that a request with a medium image takes, much is not inference",
        "up to 56 %",
        56,
        "%",
        "zero-load",
        {"images": "medium", "preprocess": "dali"},
        _not_inference,
    ),
    Claim(
        "A large image costs most of the throughput that inference alone has",
        "about 80 %",
        80,
        "%",
        "overhead",
        {"images": "large", "users": "16"},
        _lost,
    ),
    Claim(
        "A server that is made with care serves more than a naive one",
        "2.25 times",
        2.25,
        "times",
        "ladder",
        {"images": "large,phone", "users": "8"},
        _rung,
        _bounded,
    ),
)
"""Only these figures are the paper's. What it measured them with differs from ours."""


def answer(claim: Claim, found: Found) -> Answer:
    """Return what the study found of the claim: of the cell that shows it most."""
    by_cell = {point.cell: point for point in found.points}
    shown = {
        point.cell: ours
        for point in found.points
        if point.valid and point.cell != point.beside
        for beside in [by_cell.get(point.beside)]
        if (beside is None or beside.valid)
        and (ours := claim.of(point, beside)) is not None
        and ours.value is not None
    }
    cell = max(shown, key=lambda name: shown[name].value or 0, default="")
    ours = shown.get(cell)
    outcome, why = UNTESTED, ""
    if ours is not None:
        outcome = REPRODUCED if (ours.value or 0) >= ABOUT * claim.number else NOT_HERE
        why = claim.why(found, by_cell[cell])
    elif found.points:
        why = "no run can be trusted"
    else:
        why = "; ".join([*found.lacking, *found.failed.values()]) or "it was not run"
    return Answer(
        said=claim.said,
        figure=claim.figure,
        unit=claim.unit,
        study=claim.study,
        outcome=outcome,
        ours=ours,
        cell=cell,
        settings=found.settings,
        machine=found.machine,
        why=why,
    )
