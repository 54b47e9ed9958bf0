"""The ledger: gives every nanosecond of every request to exactly one stage.

A request's spans come from its record and from Triton's trace, joined by the ids of its calls on
one clock. Spans overlap, so durations are never summed: each critical span is clipped to its
request and a sweep gives each instant to the active stage of highest priority, and what no span
covers to `other`. Therefore a request's times are non-negative, and their sum is exactly
`end_ns - due_ns`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.spans import OTHER, STAGES, Request

COLUMNS = (*STAGES, OTHER)
"""The columns of the ledger, in the order in which a request passes them."""

APPORTIONED = ("decode", "resize", "normalize")
_INDEX = {name: index for index, name in enumerate(COLUMNS)}
_BY_RANK = sorted(STAGES, key=lambda name: -STAGES[name].priority)
_RANK = np.array([[*_BY_RANK, OTHER].index(name) for name in COLUMNS])
_CHUNK = 5_000
_HERE = ("client", "generator")
_SHARED = ("items", "critical")
_COMPUTE = ("COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END")

Ints = npt.NDArray[np.int64]


class _Columns:
    """Arrays of one length, a row each of what they tell."""

    def select(self, chosen: npt.NDArray[Any]) -> Self:
        """Return the chosen rows."""
        arrays = {name: one for name, one in vars(self).items() if isinstance(one, np.ndarray)}
        return type(self)(**vars(self) | {name: one[chosen] for name, one in arrays.items()})


@dataclass(frozen=True)
class Spans(_Columns):
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
    and critical. `own` has the columns row, model, first and last: where a server's model sent
    spans of its own, the first start and the last end of them. `image` is -1 where it is not known.
    `failed` counts the other requests by their error, `failed_images` by their image.
    """

    id: list[str]
    due_ns: Ints
    end_ns: Ints
    spans: Spans
    calls: pd.DataFrame
    own: pd.DataFrame
    image: Ints
    failed: Counter[str]
    failed_images: Counter[int]


def records_of(requests: Iterable[Request]) -> Records:
    """Return the columns of the requests, holding on to few of them at a time."""
    ids: list[str] = []
    called: list[str] = []
    times, spans, calls = ([np.zeros((rows, 0), np.int64)] for rows in (2, 7, 5))
    failed, failed_images = Counter[str](), Counter[int]()
    images: list[int] = []
    places: dict[str, int] = {}
    going = iter(requests)
    while some := list(itertools.islice(going, _CHUNK)):
        failed.update(one.error for one in some if one.error is not None)
        failed_images.update(_image(one) for one in some if one.error is not None)
        done = [one for one in some if one.error is None]
        took = [span for one in done for span in one.spans]
        stage = _ints([_INDEX.get(span.stage, _INDEX[OTHER]) for span in took])
        where = _ints([places.setdefault(span.where, len(places)) for span in took])
        number = len(ids) + np.arange(len(done))
        rows = np.repeat(number, _ints([len(one.spans) for one in done]))
        spans.append(
            np.stack([rows, stage, *_columns(took, "start_ns", "end_ns", *_SHARED), where])
        )
        asked = [call for one in done for call in one.calls]
        rows = np.repeat(number, _ints([len(one.calls) for one in done]))
        calls.append(np.stack([rows, *_columns(asked, "sent_ns", "received_ns", *_SHARED)]))
        times.append(np.stack(_columns(done, "due_ns", "end_ns")))
        ids += [one.id for one in done]
        images += map(_image, done)
        called += [call.id for call in asked]
    *columns, where = np.concatenate(spans, axis=1)
    found = Spans(*columns)
    names = ("row", "sent", "received", "items", "critical")
    exchanges = pd.DataFrame(dict(zip(names, np.concatenate(calls, axis=1), strict=True)))
    exchanges["id"] = pd.Series(called, dtype="str")
    away = ~np.isin(where, [places.get(here, -1) for here in _HERE])
    models = pd.DataFrame(
        {"row": found.request, "model": where, "first": found.start, "last": found.end}
    )[away]
    own = models.groupby(["row", "model"]).agg({"first": "min", "last": "max"}).reset_index()
    own["model"] = own["model"].map(dict(enumerate(places))).astype("str")
    due_ns, end_ns = np.concatenate(times, axis=1)
    image = _ints(images)
    return Records(ids, due_ns, end_ns, found, exchanges, own, image, failed, failed_images)


def _image(request: Request) -> int:
    return -1 if request.image is None else request.image


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, np.int64)


def _columns(things: Sequence[msgspec.Struct], *fields: str) -> list[Ints]:
    """The whole numbers that each of the fields holds; work is shared by one item at least."""
    found = [np.fromiter(map(attrgetter(name), things), np.int64, len(things)) for name in fields]
    return [
        np.maximum(1, one) if name == "items" else one
        for name, one in zip(fields, found, strict=True)
    ]


@dataclass(frozen=True)
class Ledger(_Columns):
    """`time_ns` and `work_ns` are [requests, COLUMNS]; `joined` says which requests were traced.

    `time_ns` is the time on the critical path, `work_ns` the summed durations of all spans, each
    divided by the items that shared it; for `other` both are the same. `image` is the number of the
    request's image, -1 where it is not known.
    """

    due_ns: Ints
    end_ns: Ints
    time_ns: Ints
    work_ns: Ints
    joined: npt.NDArray[np.bool_]
    image: Ints
    apportioned: tuple[str, ...] = ()

    @property
    def latency_ns(self) -> Ints:
        """From due to done, per request."""
        return self.end_ns - self.due_ns

    def told(self) -> Ledger:
        """Return the requests whose stages are to be told: the traced ones where any were."""
        return self.select(self.joined) if self.joined.any() else self


def sweep(spans: Spans, *, due_ns: Ints, end_ns: Ints) -> Ints:
    """Return the critical-path time, [requests, COLUMNS], of requests whose spans these are."""
    if not spans.critical.all():
        spans = spans.select(spans.critical > 0)
    time = np.zeros((len(due_ns), len(COLUMNS)), np.int64)
    order = np.argsort(spans.request, kind="stable")
    bounds = np.searchsorted(spans.request[order], np.arange(0, len(due_ns) + _CHUNK, _CHUNK))
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        rows = slice(number * _CHUNK, (number + 1) * _CHUNK)
        here = order[first:last]
        part = spans.select(here)
        time[rows] = _sweep_chunk(part, first=rows.start, due=due_ns[rows], end=end_ns[rows])
    return time


def _sweep_chunk(spans: Spans, *, first: int, due: Ints, end: Ints) -> Ints:
    count, other = len(due), _INDEX[OTHER]
    # `other` is a span over the whole request that every other stage outranks.
    request = np.concatenate([spans.request - first, np.arange(count)])
    stage = np.concatenate([spans.stage, np.full(count, other)])
    start = np.clip(np.concatenate([spans.start, due]), due[request], end[request])
    stop = np.clip(np.concatenate([spans.end, end]), start, end[request])
    at = np.concatenate([start, stop])
    whose = np.tile(request, 2)
    order = np.lexsort((at, whose))
    change = np.zeros((len(COLUMNS), len(at)), np.int16)
    half = len(request)
    change[np.tile(_RANK[stage], 2), np.arange(len(at))] = np.repeat([1, -1], half)
    active = np.cumsum(change[:, order], axis=1, dtype=np.int16)
    at, whose = at[order], whose[order]
    same = whose[1:] == whose[:-1]
    length = np.where(same, np.diff(at), 0)
    rank = np.argmax(active[:, :-1] > 0, axis=0)
    column = np.argsort(_RANK)[rank]
    # Sums of nanoseconds stay far below 2**53, so the floating-point weights are exact.
    return _summed(length, request=whose[:-1], stage=column, requests=count)


def work(spans: Spans, *, requests: int) -> Ints:
    """Return the summed durations of the spans, each divided by its items, [requests, COLUMNS]."""
    each = np.maximum(spans.end - spans.start, 0) / spans.items
    return _summed(each, request=spans.request, stage=spans.stage, requests=requests)


def _summed(values: npt.NDArray[Any], *, request: Ints, stage: Ints, requests: int) -> Ints:
    shape = (requests, len(COLUMNS))
    flat = np.bincount(request * shape[1] + stage, weights=values, minlength=requests * shape[1])
    return flat.astype(np.int64).reshape(shape)


def ledger(
    records: Records,
    trace: pd.DataFrame,
    *,
    stages: dict[str, str],
    apportion: dict[str, float] | None = None,
) -> Ledger:
    """Return the ledger of the recorded requests.

    `stages` names the stage of the time that each model computes. `apportion` gives the shares by
    which time of the stage `preprocess` is divided between the APPORTIONED stages.
    """
    traced, joined = _server_spans(records, trace, stages=stages)
    spans = Spans.joined([records.spans, traced])
    times = sweep(spans, due_ns=records.due_ns, end_ns=records.end_ns)
    works = work(spans, requests=len(records.id))
    works[:, _INDEX[OTHER]] = times[:, _INDEX[OTHER]]
    shares = apportion if apportion and times[:, _INDEX["preprocess"]].any() else None
    if shares:
        _apportion(times, shares)
        _apportion(works, shares)
    return Ledger(
        records.due_ns,
        records.end_ns,
        times,
        works,
        joined,
        records.image,
        APPORTIONED if shares else (),
    )


def _apportion(times: Ints, shares: dict[str, float]) -> None:
    """Divide the box's time in place; rounding goes to the last stage, so no nanosecond is lost."""
    box = times[:, _INDEX["preprocess"]].copy()
    times[:, _INDEX["preprocess"]] = 0
    left = box.copy()
    for name in APPORTIONED[:-1]:
        part = np.minimum((box * shares[name]).astype(np.int64), left)
        times[:, _INDEX[name]] += part
        left -= part
    times[:, _INDEX[APPORTIONED[-1]]] += left


def _server_spans(
    records: Records, trace: pd.DataFrame, *, stages: dict[str, str]
) -> tuple[Spans, npt.NDArray[np.bool_]]:
    """Return the spans of the trace, and which requests have a complete one of all their calls."""
    calls = records.calls.assign(call=np.arange(len(records.calls)))
    traced = trace[trace["request"].isin(calls["id"])]
    exchanges = _exchanges(calls, _roots(traced))
    models = traced[traced["model"].isin(list(stages))].astype({"model": "str"})
    steps = _steps(models, exchanges, own=records.own)
    complete = exchanges[exchanges["call"].isin(steps["call"])]
    parts = [
        _spans(exchanges, "send", exchanges["sent"], exchanges["arrived"]),
        _spans(exchanges, "receive", exchanges["leaves"], exchanges["received"]),
        _spans(steps, "queue", steps["since"], steps["COMPUTE_START"]),
        _spans(steps, "input", steps["COMPUTE_START"], steps["first"]),
        _spans(steps, "output", steps["last"], steps["out"]),
    ]
    for model, stage in stages.items():
        # A model that reports its own spans says more than the box around them.
        boxes = steps[(steps["model"] == model) & ~steps["itself"]]
        parts.append(_spans(boxes, stage, boxes["first"], boxes["last"]))
    count = len(records.id)
    made = np.bincount(calls["row"], minlength=count)
    joined = (np.bincount(complete["row"], minlength=count) == made) & (made > 0)
    return Spans.joined(parts), joined


def _roots(trace: pd.DataFrame) -> pd.DataFrame:
    """Return each call's own execution: the one that no execution of the same call asked for.

    The parent of what a model asks of its own server is that model's, under another id.
    """
    asked_by = pd.Series(trace["request"].to_numpy(), index=trace["id"])
    asked_by = asked_by[~asked_by.index.duplicated()].reindex(trace["parent"])
    roots: pd.DataFrame = trace[asked_by.to_numpy() != trace["request"].to_numpy()]
    return roots.drop_duplicates("request")


def _exchanges(calls: pd.DataFrame, roots: pd.DataFrame) -> pd.DataFrame:
    """Return the traced calls with when each arrived at Triton, and left it.

    It arrived when Triton had received and unpacked it: REQUEST_START. What a model asks of its
    own server is not sent back over a wire: it left when it was computed.
    """
    sends = roots[["HTTP_SEND_START", "GRPC_SEND_START"]].max(axis=1)
    ends = pd.DataFrame(
        {
            "id": roots["request"],
            "arrived": roots["REQUEST_START"],
            "leaves": sends.where(sends > 0, roots["COMPUTE_END"]),
        }
    )
    found = calls.merge(ends, on="id")
    times = found[["sent", "received", "arrived", "leaves"]]
    traced: pd.DataFrame = found[(times > 0).all(axis=1)]
    return traced


def _steps(models: pd.DataFrame, exchanges: pd.DataFrame, *, own: pd.DataFrame) -> pd.DataFrame:
    """Return one row per call and model with the bounds of its queue, input, box and output.

    A model's queue starts where the one before it in the ensemble had its results, the first one's
    where the request arrived; the last model's output lasts until Triton starts to send.
    """
    # Nanoseconds since boot fit a float64 exactly for the first hundred days.
    columns = ["request", "model", *_COMPUTE]
    steps = exchanges.merge(models[columns], left_on="id", right_on="request")
    steps = steps.sort_values(["call", "COMPUTE_START"]).merge(own, on=["row", "model"], how="left")
    before = steps.groupby("call")["COMPUTE_OUTPUT_START"].shift(1)
    steps["since"] = before.fillna(steps["arrived"]).astype("int64")
    steps["itself"] = steps["first"].notna()
    steps["first"] = steps["first"].fillna(steps["COMPUTE_INPUT_END"]).astype("int64")
    steps["last"] = steps["last"].fillna(steps["COMPUTE_OUTPUT_START"]).astype("int64")
    final = ~steps.duplicated("call", keep="last")
    steps["out"] = np.where(final, steps["leaves"], steps["COMPUTE_END"])
    steps["out"] = np.minimum(steps["out"], steps["leaves"])
    return steps


def _spans(whose: pd.DataFrame, stage: str, start: pd.Series, end: pd.Series) -> Spans:
    columns = (whose["row"], start, end, whose["items"], whose["critical"])
    row, first, last, items, critical = (np.asarray(column, np.int64) for column in columns)
    return Spans(row, np.full(len(row), _INDEX[stage], np.int64), first, last, items, critical)
