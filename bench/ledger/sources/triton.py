"""The spans of requests in Triton's trace, joined by the ids of their calls on one clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.spans import Span

_BOUNDS = {"first": "min", "last": "max"}
_COMPUTE = ("COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END")
_CLIENT = "client"

Ints = npt.NDArray[np.int64]


class Part(NamedTuple):
    """Spans of one stage: `whose` has for each the row of its request, items and critical, and the
    model, but for what lies between the client and the server.
    """

    stage: str
    whose: pd.DataFrame
    start: pd.Series
    end: pd.Series

    def columns(self) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """Return row, start, end, items and critical of each."""
        shared = (self.whose["items"], self.whose["critical"])
        columns = (self.whose["row"], self.start, self.end, *shared)
        row, start, end, items, critical = (np.asarray(one, np.int64) for one in columns)
        return row, start, end, items, critical

    def spans(self) -> Iterator[tuple[int, Span]]:
        """Yield each with the row of its request."""
        names = self.whose["model"] if "model" in self.whose else [_CLIENT] * len(self.whose)
        columns = (one.tolist() for one in self.columns())
        for where, row, start, end, items, critical in zip(names, *columns, strict=True):
            yield row, Span(self.stage, start, end, where, items, bool(critical))


def parts_of(
    calls: pd.DataFrame,
    own: pd.DataFrame,
    trace: pd.DataFrame,
    *,
    requests: int,
    stages: dict[str, str],
) -> tuple[list[Part], npt.NDArray[np.bool_]]:
    """Return the spans of the trace, and which of the requests have a complete one of all their
    calls.

    `calls` and `own` are as in Records; `stages` names the stage that each model computes.
    """
    # Ids become numbers, which are joined much faster.
    number, ids = pd.factorize(calls["id"])
    calls = calls.assign(call=np.arange(len(calls)), id=number)
    traced = trace.assign(id=pd.Index(ids).get_indexer(trace["request"]), execution=trace["id"])
    traced = traced[traced["id"] >= 0]
    exchanges = _exchanges(calls, _roots(traced))
    steps = _steps(traced[traced["model"].isin(list(stages))], exchanges, own=own)
    complete = exchanges[exchanges["call"].isin(steps["call"])]
    parts = [
        Part("send", exchanges, exchanges["sent"], exchanges["arrived"]),
        Part("receive", exchanges, exchanges["leaves"], exchanges["received"]),
        Part("queue", steps, steps["since"], steps["COMPUTE_START"]),
        Part("input", steps, steps["COMPUTE_START"], steps["first"]),
        Part("output", steps, steps["last"], steps["out"]),
    ]
    for model, stage in stages.items():
        # A model that reports its own spans says more than the box around them.
        boxes = steps[(steps["model"] == model) & ~steps["itself"]]
        parts.append(Part(stage, boxes, boxes["first"], boxes["last"]))
    made = np.bincount(calls["row"], minlength=requests)
    joined = (np.bincount(complete["row"], minlength=requests) == made) & (made > 0)
    return parts, joined


def _roots(trace: pd.DataFrame) -> pd.DataFrame:
    """Return each call's own execution: the one that no execution of the same call asked for.

    The parent of what a model asks of its own server is that model's, under another id.
    """
    asking = trace.drop_duplicates("execution").set_index("execution")["id"]
    asked_by = asking.reindex(trace["parent"]).to_numpy()
    roots: pd.DataFrame = trace[asked_by != trace["id"].to_numpy()]
    return roots.drop_duplicates("id")


def _exchanges(calls: pd.DataFrame, roots: pd.DataFrame) -> pd.DataFrame:
    """Return the traced calls with when each arrived at Triton, and left it.

    It arrived when Triton had received and unpacked it: REQUEST_START. What a model asks of its
    own server is not sent back over a wire: it left when it was computed.
    """
    sends = roots[["HTTP_SEND_START", "GRPC_SEND_START"]].max(axis=1)
    ends = pd.DataFrame(
        {
            "id": roots["id"],
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
    steps = exchanges.merge(models[["id", "model", *_COMPUTE]], on="id")
    steps = steps.iloc[np.lexsort((steps["COMPUTE_START"], steps["call"]))]
    names = own["model"].cat.categories
    place = names.get_indexer(pd.Index(steps["model"]))
    steps["by"] = np.where(place < 0, -1, steps["row"] * len(names) + place)
    own = own.assign(by=own["row"] * len(names) + own["model"].cat.codes)
    steps = steps.merge(own.groupby("by").agg(_BOUNDS).reset_index(), on="by", how="left")
    several = steps.duplicated("by", keep=False) & steps["first"].notna()
    if several.any():
        steps.loc[several, [*_BOUNDS]] = _of_each(steps[several], own)
    before = steps.groupby("call")["COMPUTE_OUTPUT_START"].shift(1)
    steps["since"] = before.fillna(steps["arrived"]).astype("int64")
    steps["itself"] = steps["first"].notna()
    steps["first"] = steps["first"].fillna(steps["COMPUTE_INPUT_END"]).astype("int64")
    steps["last"] = steps["last"].fillna(steps["COMPUTE_OUTPUT_START"]).astype("int64")
    final = ~steps.duplicated("call", keep="last")
    steps["out"] = np.where(final, steps["leaves"], steps["COMPUTE_END"])
    steps["out"] = np.minimum(steps["out"], steps["leaves"])
    return steps


def _of_each(steps: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Return the bounds of the model's own spans within each of a request's several steps by it."""
    columns = ["by", "COMPUTE_START", "COMPUTE_END"]
    pairs = steps[columns].reset_index().merge(own, on="by")
    within = (pairs["last"] > pairs["COMPUTE_START"]) & (pairs["first"] < pairs["COMPUTE_END"])
    return pairs[within].groupby("index").agg(_BOUNDS).reindex(steps.index)
