"""How far another host's clock is behind the run's, and a request moved from the one to the other.

Each exchange between the hosts has four times, two by each clock (RFC 5905, figure 2): nothing
arrives before it was sent, so every exchange bounds the difference from both sides. The truth is
between the closest of these bounds, in the middle where the way takes equally long in both
directions; otherwise the estimate errs by half of what these differ, which no exchange can tell.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.record.hosts import Round
from bench.record.scenario import Settings
from pipelines.spans import Call, Request, Span

STEP_NS = 5_000_000_000
"""Clocks drift apart, so the difference is taken anew about so often."""

APART_NS = 5_000_000
"""Bounds that contradict each other by more are of no one clock: drift is below 1 ms in a step."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """What is to be added to the other clock: `ahead_ns` at its moment `since_ns`, since then
    `drift` more in each ns, and what is left over, `rest_ns` at its moments `at_ns` after that, in
    between in proportion. It is right within `bound_ns`; `contradicted_ns` is above 0 where it
    cannot be.
    """

    since_ns: int
    ahead_ns: int
    drift: float
    at_ns: Floats
    rest_ns: Floats
    bound_ns: int
    contradicted_ns: int

    def at(self, moment_ns: int) -> int:
        """Return what is to be added at that moment."""
        after_ns = moment_ns - self.since_ns  # floats would lose the last digits of large times
        rest_ns = np.interp(after_ns, self.at_ns, self.rest_ns)
        return self.ahead_ns + round(self.drift * after_ns + float(rest_ns))


NONE = Difference(0, 0, 0.0, np.zeros(1), np.zeros(1), 0, 0)
"""Of one clock."""


def difference(exchanges: Ints) -> Difference:
    """Return the difference of the clocks by exchanges [n, 4], n above 0: sent and received by the
    other clock, and between them heard and answered by the run's.
    """
    sent, heard, answered, received = exchanges.T
    since_ns, ahead_ns = int(sent.min()), int(heard[0] - sent[0])
    after = (sent - since_ns).astype(float)
    bounds = [(each - ahead_ns).astype(float) for each in (answered - received, heard - sent)]
    at, least, most = _in_steps(after, *bounds)
    drift = float(np.polyfit(at, (least + most) / 2, 1)[0]) if len(at) > 1 else 0.0
    at, least, most = _in_steps(after, *(each - drift * after for each in bounds))
    return Difference(
        *(since_ns, ahead_ns, drift, at, (least + most) / 2),
        bound_ns=int(np.abs(most - least).max() / 2) + 1,
        contradicted_ns=max(0, int((least - most).max()) - APART_NS),
    )


def _in_steps(after: Floats, least: Floats, most: Floats) -> tuple[Floats, Floats, Floats]:
    """The middle of each step that has exchanges, and the closest bounds in it."""
    length = max(1.0, np.ptp(after) / max(1, np.ptp(after) // STEP_NS))
    step = np.minimum(after // length, max(0, np.ptp(after) // STEP_NS - 1))
    table = pd.DataFrame({"step": step, "at": after, "least": least, "most": most})
    found = table.groupby("step").agg({"at": ["min", "max"], "least": "max", "most": "min"})
    first, last, highest, lowest = found.to_numpy().T
    return (first + last) / 2, highest, lowest


def exchanges(
    rounds: Iterable[Round], requests: Iterable[Request], trace: pd.DataFrame, *, of: Settings
) -> Ints:
    """Return what was exchanged: the rounds to the master, and the client's calls in the trace.

    A call was heard when the server began to read it: a long one is then still on its way.
    """
    asked = [(one.asked_ns, one.told_ns, one.told_ns, one.received_ns) for one in rounds]
    calls = pd.DataFrame(
        [
            (call.id, call.sent_ns, call.received_ns)
            for one in requests
            for call in one.calls
            if _is_clients(call, one, of=of)
        ],
        columns=["request", "sent", "received"],
    )
    read = trace["HTTP_RECV_START"]
    began = read.where(read > 0, trace["REQUEST_START"])
    ended = trace[["HTTP_SEND_START", "GRPC_SEND_START"]].max(axis=1)
    served = trace[["request"]].assign(began=began, ended=ended)[(began > 0) & (ended > 0)]
    found = calls.merge(served.drop_duplicates("request"), on="request")
    told = found[["sent", "began", "ended", "received"]].to_numpy("int64")
    return np.concatenate([np.array(asked, np.int64).reshape(-1, 4), told])


def moved(request: Request, by: Difference, *, of: Settings) -> Request:
    """Return the request by the run's clock; what the server told in its reply is by that."""
    ahead_ns = by.at(request.due_ns)
    clients = {"generator", "client"} | ({of.preprocess} if of.place == "client" else set())
    return msgspec.structs.replace(
        request,
        due_ns=request.due_ns + ahead_ns,
        start_ns=request.start_ns + ahead_ns,
        end_ns=request.end_ns + ahead_ns,
        spans=[
            Span(one.stage, one.start_ns + ahead_ns, one.end_ns + ahead_ns, *_rest(one))
            if one.where in clients or of.serverless
            else one
            for one in request.spans
        ],
        calls=[
            Call(one.id, one.sent_ns + ahead_ns, one.received_ns + ahead_ns, *_shared(one))
            if _is_clients(one, request, of=of)
            else one
            for one in request.calls
        ],
    )


def _is_clients(call: Call, request: Request, *, of: Settings) -> bool:
    """Whether the client made the call, and not a chain inside the server."""
    return of.topology != "fused" or call.id == request.id


def _rest(span: Span) -> tuple[str, int, bool]:
    return span.where, *_shared(span)


def _shared(one: Span | Call) -> tuple[int, bool]:
    return one.items, one.critical
