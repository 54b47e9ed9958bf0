"""The spans that servers told of themselves: each goes to the requests that it is of."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench.record.manifest import Manifest
from bench.record.records import ToldSpan
from pipelines.spans import OTHER, STAGES, Call, Request, Span

BOX = "request"
"""The stage of what is no stage: from a request's arrival at a web server to its answer."""

BETWEEN = ("schedule", "send", "server", "receive")
"""The stages that no server sees from its side."""

NAMES = tuple(name for name in STAGES if name not in BETWEEN)
"""The names that stages have in a server's own code."""

_MOST_NAMES = 5
_MOST_ITEMS = (1 << 62) - 1


class OwnSpans:
    """What servers told in one run.

    `stages` are those of the manifest, with every model that told spans. `by_id` has them by the
    ids that they are of, where they are too many to be held.
    """

    def __init__(
        self,
        manifest: Manifest,
        told: Iterable[ToldSpan],
        *,
        by_id: Mapping[str, Sequence[ToldSpan]] | None = None,
    ) -> None:
        found = defaultdict[str, list[ToldSpan]](list)
        self._by_id: Mapping[str, Sequence[ToldSpan]] = found if by_id is None else by_id
        self._nobodys, self._found = 0, False
        self._unknown = Counter[str]()
        self._traced = manifest.traced
        where = set[str]()
        for each in told:
            where.add(each.where)
            self._nobodys += not each.ids
            for id in (*each.ids, *each.waiting) if by_id is None else ():
                found[id].append(each)
        self.stages = dict.fromkeys(sorted(where), OTHER) | manifest.stages

    def given(self, request: Request) -> Request:
        """Return the request with the spans that are of it or of its calls."""
        if self._by_id:
            for call in request.calls:
                for told in self._by_id.get(call.id, ()):
                    request.spans += self._spans(told, call)
            if all(call.id != request.id for call in request.calls):
                whole = Call(request.id, request.start_ns, request.end_ns)
                for told in self._by_id.get(request.id, ()):
                    if told.stage != BOX:
                        request.spans += self._spans(told, whole)
        return request

    def _spans(self, told: ToldSpan, call: Call) -> Iterator[Span]:
        self._found = True
        shared = (min(call.items * max(1, len(told.ids)), _MOST_ITEMS), call.critical)
        times = (told.start_ns, told.end_ns)
        if told.stage == BOX:
            if not self._traced:  # else Triton's trace has said it
                yield Span("send", call.sent_ns, told.start_ns, "client", *shared)
                yield Span("receive", told.end_ns, call.received_ns, "client", *shared)
        elif call.id in told.waiting:
            yield Span("queue", *times, told.where, call.items, call.critical)
        elif told.stage in NAMES:
            yield Span(told.stage, *times, told.where, *shared)
        else:
            self._unknown[told.stage] += 1
            yield Span(self.stages[told.where], *times, told.where, *shared)

    def strange(self) -> Iterator[str]:
        """Say what is wrong with them."""
        if self._unknown:
            some = ", ".join(name for name, _ in self._unknown.most_common(_MOST_NAMES))
            yield (
                f"servers name stages that are not known: {some}; their time counts as all that "
                f"the model computes; known: {', '.join(NAMES)}"
            )
        if self._nobodys and not self._found:
            yield f"{self._nobodys} spans that servers told are of no request that could be found"
