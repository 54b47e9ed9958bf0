"""The ledger: gives every nanosecond of every request to exactly one stage.

A request's spans come from the client's record and from Triton's trace, joined by request id on one
clock. Spans overlap, so durations are never summed: each span is clipped to its request and a sweep
gives each instant to the active stage of highest priority, and what no span covers to `other`.
Therefore a request's times are non-negative and their sum is `end_ns - due_ns` exactly.
"""

from __future__ import annotations

import itertools
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
_NEEDED = (
    *("request", "model", "parent", "REQUEST_START", "HTTP_SEND_START", "GRPC_SEND_START"),
    *("COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END"),
)
_EMPTY = np.zeros((4, 0), np.int64)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Spans:
    """Columns of spans: row of its request, column of its stage, start and end in ns."""

    request: Ints
    stage: Ints
    start: Ints
    end: Ints

    @staticmethod
    def joined(parts: Sequence[Spans]) -> Spans:
        """Return all spans of the parts."""
        return Spans(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("request", "stage", "start", "end")
            )
        )


@dataclass(frozen=True)
class Records:
    """Columns of the successful requests; `sent_ns` and `received_ns` are 0 where absent.

    `own` has the columns row, model, first and last: where a server's model sent spans of its own,
    the first start and the last end of them. `failed` counts the other requests by their error.
    """

    id: list[str]
    due_ns: Ints
    end_ns: Ints
    sent_ns: Ints
    received_ns: Ints
    spans: Spans
    own: pd.DataFrame
    failed: Counter[str]


def records_of(requests: Iterable[Request]) -> Records:
    """Return the columns of the requests, holding on to none of them."""
    ids: list[str] = []
    times, spans, own, failed = array("q"), array("q"), array("q"), Counter[str]()
    models: dict[str, int] = {}
    for request in requests:
        if request.error is not None:
            failed[request.error] += 1
            continue
        row = len(ids)
        ids.append(request.id)
        sent, received = request.sent_ns or 0, request.received_ns or 0
        times.extend((request.due_ns, request.end_ns, sent, received))
        bounds: dict[str, tuple[int, int]] = {}
        for stage, start, end, where, _ in map(msgspec.structs.astuple, request.spans):
            spans.extend((row, _INDEX.get(stage, _INDEX[OTHER]), start, end))
            if where not in _HERE:
                first, last = bounds.get(where, (start, end))
                bounds[where] = (min(first, start), max(last, end))
        for where, (first, last) in bounds.items():
            own.extend((row, models.setdefault(where, len(models)), first, last))
    due, done, sent_ns, received_ns = _table(times)
    row_of, model_of, first_of, last_of = _table(own)
    names = pd.Series(list(models), dtype="str")
    return Records(
        ids,
        due,
        done,
        sent_ns,
        received_ns,
        Spans(*_table(spans)),
        pd.DataFrame(
            {
                "row": row_of,
                "model": names.take(model_of).to_numpy(),
                "first": first_of,
                "last": last_of,
            }
        ).astype({"model": "str"}),
        failed,
    )


def _table(values: array[int]) -> Ints:
    """The four columns of rows that lie one after the other."""
    return np.frombuffer(values, np.int64).reshape(-1, 4).T.copy() if values else _EMPTY


@dataclass(frozen=True)
class Ledger:
    """`time_ns` and `work_ns` are [requests, COLUMNS]; `joined` says which requests were traced.

    `time_ns` is the time on the critical path, `work_ns` the summed durations of the spans,
    overlaps counted twice; for `other` both are the same.
    """

    due_ns: Ints
    end_ns: Ints
    time_ns: Ints
    work_ns: Ints
    joined: npt.NDArray[np.bool_]
    apportioned: tuple[str, ...] = ()

    @property
    def latency_ns(self) -> Ints:
        """From due to done, per request."""
        return self.end_ns - self.due_ns

    def select(self, chosen: npt.NDArray[np.bool_]) -> Ledger:
        """Return the ledger of the chosen requests."""
        return Ledger(
            self.due_ns[chosen],
            self.end_ns[chosen],
            self.time_ns[chosen],
            self.work_ns[chosen],
            self.joined[chosen],
            self.apportioned,
        )


def sweep(spans: Spans, *, due_ns: Ints, end_ns: Ints) -> Ints:
    """Return the critical-path time, [requests, COLUMNS], of requests whose spans these are."""
    time = np.zeros((len(due_ns), len(COLUMNS)), np.int64)
    order = np.argsort(spans.request, kind="stable")
    bounds = np.searchsorted(spans.request[order], np.arange(0, len(due_ns) + _CHUNK, _CHUNK))
    for number, (first, last) in enumerate(itertools.pairwise(bounds)):
        rows = slice(number * _CHUNK, (number + 1) * _CHUNK)
        here = order[first:last]
        part = Spans(
            spans.request[here] - rows.start, spans.stage[here], spans.start[here], spans.end[here]
        )
        time[rows] = _sweep_chunk(part, due=due_ns[rows], end=end_ns[rows])
    return time


def _sweep_chunk(spans: Spans, *, due: Ints, end: Ints) -> Ints:
    count, other = len(due), _INDEX[OTHER]
    # `other` is a span over the whole request that every other stage outranks.
    request = np.concatenate([spans.request, np.arange(count)])
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
    flat = np.bincount(
        whose[:-1] * len(COLUMNS) + column, weights=length, minlength=count * len(COLUMNS)
    )
    # Sums of nanoseconds stay far below 2**53, so the floating-point weights are exact.
    return flat.astype(np.int64).reshape(count, len(COLUMNS))


def work(spans: Spans, *, requests: int) -> Ints:
    """Return the summed durations of the spans, [requests, COLUMNS]."""
    flat = np.bincount(
        spans.request * len(COLUMNS) + spans.stage,
        weights=np.maximum(spans.end - spans.start, 0),
        minlength=requests * len(COLUMNS),
    )
    return flat.astype(np.int64).reshape(requests, len(COLUMNS))


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
        records.due_ns, records.end_ns, times, works, joined, APPORTIONED if shares else ()
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
    """Return the spans of the trace, and which requests have a complete one."""
    rows = pd.Index(records.id).get_indexer(pd.Index(trace["request"]))
    mine = trace[list(_NEEDED)].assign(row=rows)[rows >= 0]
    roots = mine[mine["parent"] == 0].drop_duplicates("row").set_index("row")
    complete = _exchange(records, roots)
    models = mine[mine["model"].isin(list(stages)) & mine["row"].isin(complete.index)]
    models = models.astype({"model": "str"})
    joined = np.zeros(len(records.id), bool)
    joined[np.intersect1d(complete.index, models["row"].unique())] = True
    steps = _steps(models, complete, own=records.own)
    parts = [
        _spans(complete.index, "send", complete["sent"], complete["arrived"]),
        _spans(complete.index, "receive", complete["leaves"], complete["received"]),
        _spans(steps["row"], "queue", steps["since"], steps["COMPUTE_START"]),
        _spans(steps["row"], "input", steps["COMPUTE_START"], steps["first"]),
        _spans(steps["row"], "output", steps["last"], steps["out"]),
    ]
    for model, stage in stages.items():
        # A model that reports its own spans says more than the box around them.
        boxes = steps[(steps["model"] == model) & ~steps["itself"]]
        parts.append(_spans(boxes["row"], stage, boxes["first"], boxes["last"]))
    return Spans.joined(parts), joined


def _exchange(records: Records, roots: pd.DataFrame) -> pd.DataFrame:
    """Return, by row, when a request left the client, reached Triton, left it, and was back.

    `arrived` is when Triton had received and unpacked it: the root execution's REQUEST_START.
    """
    where = roots.index.to_numpy()
    frame = pd.DataFrame(
        {
            "sent": records.sent_ns[where],
            "received": records.received_ns[where],
            "arrived": roots["REQUEST_START"].to_numpy(),
            "leaves": roots[["HTTP_SEND_START", "GRPC_SEND_START"]].max(axis=1).to_numpy(),
        },
        index=where,
        dtype="int64",
    )
    return frame[(frame > 0).all(axis=1)]


def _steps(models: pd.DataFrame, exchange: pd.DataFrame, *, own: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model execution with the bounds of its queue, input, box and output.

    A model's queue starts where the one before it in the ensemble had its results, the first one's
    where the request arrived; the last model's output lasts until Triton starts to send.
    """
    # Nanoseconds since boot fit a float64 exactly for the first hundred days.
    steps = models.sort_values(["row", "COMPUTE_START"]).merge(own, on=["row", "model"], how="left")
    steps = steps.merge(exchange, left_on="row", right_index=True)
    before = steps.groupby("row")["COMPUTE_OUTPUT_START"].shift(1)
    steps["since"] = before.fillna(steps["arrived"]).astype("int64")
    steps["itself"] = steps["first"].notna()
    steps["first"] = steps["first"].fillna(steps["COMPUTE_INPUT_END"]).astype("int64")
    steps["last"] = steps["last"].fillna(steps["COMPUTE_OUTPUT_START"]).astype("int64")
    final = ~steps.duplicated("row", keep="last")
    steps["out"] = np.where(final, steps["leaves"], steps["COMPUTE_END"])
    steps["out"] = np.minimum(steps["out"], steps["leaves"])
    return steps


def _spans(rows: pd.Index | pd.Series, stage: str, start: pd.Series, end: pd.Series) -> Spans:
    count = len(rows)
    return Spans(
        np.asarray(rows, np.int64),
        np.full(count, _INDEX[stage], np.int64),
        np.asarray(start, np.int64),
        np.asarray(end, np.int64),
    )
