"""What several runs are together: what they share, their medians, and which cannot be trusted."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from bench.ledger import units
from pipelines.errors import VisiontaxError

T = TypeVar("T")

INVALID = "!"
"""What follows a number in which a run takes part that cannot be trusted."""


class Judged(Protocol):
    """A run that is known to be valid or not."""

    @property
    def valid(self) -> bool:
        """Whether it can be trusted."""


def shared(values: Iterable[T], *, name: str, of: str) -> T:
    """Return the one value that all runs have.

    Raises VisiontaxError, saying that the runs are no `of`, when they have several or none.
    """
    distinct = set(values)
    if len(distinct) != 1:
        listed = ", ".join(sorted(map(str, distinct))) or "there are none"
        raise VisiontaxError(f"these runs are no {of}: {name} is not one: {listed}")
    return distinct.pop()


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of those that are known, None without one."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def each(counts: Iterable[int]) -> str:
    """Return how many runs there are of each: `1 run`, `median of 2 to 3 runs`."""
    distinct = sorted(set(counts))
    if distinct == [1]:
        return "1 run"
    ends = dict.fromkeys((distinct[0], distinct[-1]))
    return f"median of {' to '.join(map(str, ends))} runs"


def invalid(runs: Sequence[Judged]) -> str:
    """Return what the reader must know of runs that cannot be trusted, empty when all can."""
    amount = sum(not run.valid for run in runs)
    if not amount:
        return ""
    return (
        f"{amount} of {units.count(len(runs), 'run')} INVALID: the numbers marked "
        f"{INVALID} cannot be trusted; 'bench report RUN' says why"
    )
