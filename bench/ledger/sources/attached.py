"""The requests to a server that was attached to: what each spent there, by the executions in its
trace, also of models that ask others; of one that is not in it the server is one stage.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from bench.record.foreign.ingested import served
from bench.record.foreign.traffic import Execution, executions, trees
from pipelines.spans import SERVER, Call, Request, Span


class Attached:
    """What the trace of one run says; `stages` is of what each model computes."""

    def __init__(self, trace: pd.DataFrame, stages: Mapping[str, str]) -> None:
        roots, _ = trees(executions(trace.itertuples(index=False, name=None)))
        self._roots = {root.request: root for root in roots}
        self._stages = stages

    def given(self, request: Request) -> Request:
        """Return the request with the server's spans of each of its calls.

        Where a model told spans of its own, these are in place of the box around them; before the
        first of them it had its input, and after the last its output, in its hands.
        """
        told: dict[str, list[Span]] = {}
        for span in request.spans:
            told.setdefault(span.where, []).append(span)
        for call in request.calls:
            root = self._roots.get(call.id)
            request.spans += _unseen(call) if root is None else self._seen(call, root, told)
        return request

    def _seen(self, call: Call, root: Execution, told: Mapping[str, list[Span]]) -> Iterable[Span]:
        inside = served(root, self._stages)
        shared = (call.items, call.critical)
        yield Span("send", call.sent_ns, inside.start_ns, "client", *shared)
        yield Span("receive", inside.end_ns, call.received_ns, "client", *shared)
        for span in inside.spans:
            box = span.stage == self._stages.get(span.where, "inference")
            own = [
                one
                for one in (told.get(span.where, ()) if box else ())
                if span.start_ns <= one.start_ns and one.end_ns <= span.end_ns
            ]
            if own:
                first, last = min(one.start_ns for one in own), max(one.end_ns for one in own)
                yield Span("input", span.start_ns, first, span.where, *shared)
                yield Span("output", last, span.end_ns, span.where, *shared)
            else:
                yield Span(span.stage, span.start_ns, span.end_ns, span.where, *shared)


def _unseen(call: Call) -> Iterable[Span]:
    yield Span(SERVER, call.sent_ns, call.received_ns, SERVER, call.items, call.critical)
