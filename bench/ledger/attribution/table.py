"""The ledger: the time and the work of every request in every stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bench.ledger.attribution.stored import Ints, Rows, Stored
from pipelines.spans import OTHER, STAGES

COLUMNS = (*STAGES, OTHER)
"""The columns of the ledger, in the order in which a request passes them."""

INDEX = {name: index for index, name in enumerate(COLUMNS)}


class Columns:
    """Arrays of one length, a row each of what they tell."""

    def select(self, chosen: Rows) -> Self:
        """Return the chosen rows."""
        if chosen.dtype == bool and chosen.all():
            return self
        kinds = (np.ndarray, Stored)
        rows = {name: one[chosen] for name, one in vars(self).items() if isinstance(one, kinds)}
        return type(self)(**vars(self) | rows)


@dataclass(frozen=True)
class Ledger(Columns):
    """`times` and `works` are [requests, COLUMNS], in ns; `joined` says which were traced.

    `times` are on the critical path, `works` the summed durations of all spans, each divided by the
    items that shared it; for `other` both are the same. `image` is the number of the request's
    image, -1 where it is not known. `sizes` are the bytes that each sent and received,
    [requests, 2]; None where nobody counted them. `pipeline` is the place of its name in
    `pipelines`, which are all that were asked; None where it is all one.
    """

    due_ns: Ints
    end_ns: Ints
    times: Ints | Stored
    works: Ints | Stored
    joined: npt.NDArray[np.bool_]
    image: Ints
    apportioned: tuple[str, ...] = ()
    sizes: Ints | Stored | None = None
    pipeline: Ints | None = None
    pipelines: tuple[str, ...] = ()

    @property
    def latency_ns(self) -> Ints:
        """From due to done, per request."""
        return self.end_ns - self.due_ns

    @property
    def time_ns(self) -> Ints:
        """All `times` at once, which of a long run are more than the memory holds."""
        return np.stack([self.times[:, column] for column in range(len(COLUMNS))], axis=1)

    def time_of(self, *stages: str) -> Ints:
        """The time of each request in these stages together."""
        found = np.zeros(len(self.due_ns), np.int64)
        for stage in stages:
            found += self.times[:, INDEX[stage]]
        return found

    def told(self) -> Ledger:
        """Return the requests whose stages are to be told: the traced ones where any were."""
        return self.select(self.joined) if self.joined.any() else self


def whole(parts: Iterable[Ledger]) -> Ledger:
    """Return the ledger of the requests of all parts, at least one, in their order."""
    stored, kept = Stored(), list[tuple[npt.NDArray[Any], ...]]()
    apportioned: tuple[str, ...] = ()
    pipelines: dict[str, int] = {}
    for one in parts:
        stored.add(np.concatenate([one.times, one.works, one.sizes], axis=1))
        apportioned = apportioned or one.apportioned
        places = [pipelines.setdefault(name, len(pipelines)) for name in one.pipelines]
        pipeline = np.array(places, np.int64)[one.pipeline]
        kept.append((one.due_ns, one.end_ns, one.joined, one.image, pipeline))
    due_ns, end_ns, joined, image, pipeline = map(np.concatenate, zip(*kept, strict=True))
    works, sizes = stored[:, len(COLUMNS) :], stored[:, 2 * len(COLUMNS) :]
    return Ledger(
        *(due_ns, end_ns, stored, works, joined, image),
        *(apportioned, sizes, pipeline, tuple(pipelines)),
    )
