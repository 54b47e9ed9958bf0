"""What some requests say of themselves, as columns: their spans, and their calls of servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain, repeat
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from bench.ledger.attribution.stored import Ints
from bench.ledger.attribution.table import INDEX, Columns
from bench.record.records import DROPPED
from pipelines.spans import OTHER, Request

_HERE = ("client", "generator")


@dataclass(frozen=True)
class Spans(Columns):
    """Columns of spans: row of its request, column of its stage, start and end in ns, how many
    items shared it, and 1 where it is on the critical path.
    """

    request: Ints
    stage: Ints
    start: Ints
    end: Ints
    items: Ints
    critical: Ints

    @staticmethod
    def joined(parts: Sequence[Spans]) -> Spans:
        """Return all spans of the parts."""
        names = [field.name for field in fields(Spans)]
        return Spans(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Records:
    """Columns of the successful requests.

    `calls` has a row for each exchange with Triton: row (of the request), id, sent, received, items
    and critical. `own` has the columns row, model, first and last: start and end of each span that
    a server's model sent of its own. `image` is -1 where it is not known.
    `pipeline` is the place of its name in `pipelines`, which are all that were asked. `failed`
    counts the other requests by their error, `failed_images` by their image, `failed_pipelines` by
    their pipeline. `sizes` has the bytes that each sent and received, [requests, 2].
    """

    due_ns: Ints
    end_ns: Ints
    spans: Spans
    calls: pd.DataFrame
    own: pd.DataFrame
    image: Ints
    failed: Counter[str]
    failed_images: Counter[int]
    failed_pipelines: Counter[str]
    sizes: Ints
    pipeline: Ints
    pipelines: tuple[str, ...]


class _Places(dict[str, int]):
    """Numbers of names, in the order in which they are asked for."""

    def __missing__(self, name: str) -> int:
        self[name] = place = len(self)
        return place


def records_of(requests: Iterable[Request]) -> Records:
    """Return the columns of the requests."""
    asked = [*requests]
    done = [one for one in asked if one.error is None]
    without = [one for one in asked if one.error not in (None, DROPPED)]
    pipelines = _Places()
    for one in asked:
        pipelines[one.pipeline]
    spans, away = _spans(done)
    return Records(
        due_ns=_column(done, "due_ns"),
        end_ns=_column(done, "end_ns"),
        spans=spans,
        calls=_calls(done),
        own=away,
        image=_ints(map(_image, done), len(done)),
        failed=Counter(one.error for one in asked if one.error is not None),
        failed_images=Counter(map(_image, without)),
        failed_pipelines=Counter(one.pipeline for one in without),
        sizes=np.stack([_column(done, name) for name in ("bytes_in", "bytes_out")], axis=1),
        pipeline=_column(done, "pipeline", pipelines.__getitem__),
        pipelines=tuple(pipelines),
    )


def _spans(done: Sequence[Request]) -> tuple[Spans, pd.DataFrame]:
    """All spans, and those of servers' models by their names."""
    took = [*chain.from_iterable(one.spans for one in done)]
    places = _Places(zip(_HERE, range(len(_HERE)), strict=True))
    stages = map(INDEX.get, map(attrgetter("stage"), took), repeat(INDEX[OTHER]))
    found = Spans(
        np.repeat(np.arange(len(done)), [len(one.spans) for one in done]),
        _ints(stages, len(took)),
        _column(took, "start_ns"),
        _column(took, "end_ns"),
        np.maximum(1, _column(took, "items")),  # somebody did it
        _column(took, "critical"),
    )
    where = _column(took, "where", places.__getitem__)
    away = where >= len(_HERE)
    own = {"row": found.request[away], "first": found.start[away], "last": found.end[away]}
    model = pd.Categorical.from_codes(where[away], pd.Index(places))
    return found, pd.DataFrame(own | {"model": model})


def _calls(done: Sequence[Request]) -> pd.DataFrame:
    asked = [*chain.from_iterable(one.calls for one in done)]
    return pd.DataFrame(
        {
            "row": np.repeat(np.arange(len(done)), [len(one.calls) for one in done]),
            "id": np.array([*map(attrgetter("id"), asked)], object),
            "sent": _column(asked, "sent_ns"),
            "received": _column(asked, "received_ns"),
            "items": np.maximum(1, _column(asked, "items")),
            "critical": _column(asked, "critical"),
        }
    )


def _image(request: Request) -> int:
    return -1 if request.image is None else request.image


def _ints(values: Iterable[int], count: int) -> Ints:
    return np.fromiter(values, np.int64, count)


def _column(things: Sequence[Any], name: str, number: Callable[[Any], int] = int) -> Ints:
    """The field of each thing, as a whole number."""
    values = map(attrgetter(name), things)
    return _ints(values if number is int else map(number, values), len(things))
