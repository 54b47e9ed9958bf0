"""Traces of a Triton in OpenTelemetry mode, as the collector's file exporter writes them: lines of
OTLP's JSON.

Triton makes a span `InferRequest` for each request, in it one for each execution of a model with
the attribute `triton.model_name`, and in that one `compute`. Their events have the names of its own
trace. Spans are related within one service instance only: others have other clocks.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bench.record.files import MOST_BYTES, decoded, opened, read_whole
from bench.record.foreign.traffic import Execution, Traffic, trees
from bench.record.trace import EVENTS
from pipelines.errors import ResultsError
from pipelines.spans import Nanoseconds

_MODEL, _REQUEST, _ASKED_BY = "triton.model_name", "triton.request_id", "triton.trace_parent_id"
_ROOT = "InferRequest"
_DEEPEST = 100
"""So many spans are looked through on the way up to an execution."""

Text = Annotated[str, msgspec.Meta(max_length=1 << 16)]


class _Attribute(msgspec.Struct):
    key: str
    value: Any = None


class _Event(msgspec.Struct, rename="camel"):
    time_unix_nano: Nanoseconds
    name: str = ""


class _Span(msgspec.Struct, rename="camel"):
    span_id: Text
    trace_id: Text = ""
    parent_span_id: Text = ""
    name: str = ""
    attributes: list[_Attribute] = []
    events: list[_Event] = []


class _Scope(msgspec.Struct):
    spans: list[_Span] = []


class _Resource(msgspec.Struct):
    attributes: list[_Attribute] = []


class _Resources(msgspec.Struct, rename="camel"):
    resource: _Resource = msgspec.field(default_factory=_Resource)
    scope_spans: list[_Scope] = []


class _Line(msgspec.Struct, rename="camel"):
    """What a line has; of metrics and logs there is none of it."""

    resource_spans: list[_Resources] = []


Key = tuple[bytes, str, str]
"""A span: the attributes of its service instance, its trace and its own id."""


def read(paths: Iterable[Path]) -> Traffic:
    """Read the files. Raises ResultsError naming the line that is damaged, but for a last one
    without an end.
    """
    spans: dict[Key, _Span] = {}
    cut = False
    for path in paths:
        for line in _lines(path):
            if line is None:
                cut = True
                continue
            for resources in line.resource_spans:
                instance = msgspec.json.encode(_sorted(resources.resource.attributes))
                for scope in resources.scope_spans:
                    for span in scope.spans:
                        spans[instance, span.trace_id, span.span_id] = span
    executions, lost = _executions(spans)
    roots, parts = trees(executions)
    told = {key[0] for key, span in spans.items() if _attribute(span, _MODEL)}
    return Traffic(roots, lost=lost + parts, cut=cut, instances=len(told), unix=True)


def _sorted(attributes: list[_Attribute]) -> list[_Attribute]:
    return sorted(attributes, key=lambda one: one.key)


def _lines(path: Path) -> Iterator[_Line | None]:
    """Yield what each line holds, None of a last one that was cut off."""
    decode = msgspec.json.Decoder(_Line, strict=False).decode
    with opened(path) as file:
        number = 0
        while line := file.readline(MOST_BYTES):
            number += 1
            if len(line) == MOST_BYTES and not line.endswith(b"\n"):
                raise ResultsError(
                    f"{path} is damaged: line {number} is longer than {MOST_BYTES >> 20} MiB"
                )
            if not line.strip():
                continue
            try:
                yield decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if "truncated" in str(error) and not line.endswith(b"\n"):
                    yield None
                    return
                if "truncated" in str(error) and number == 1:  # one object on many lines
                    yield decoded(read_whole(path), decode, named=str(path))
                    return
                raise ResultsError(
                    f"{path}, line {number} is damaged: {error}",
                    hint="take the line out, or record again",
                ) from error


def _executions(spans: dict[Key, _Span]) -> tuple[list[Execution], int]:
    """Return the executions, and how many have no request: their parents were not exported."""
    found: dict[Key, Execution] = {}
    for number, (key, span) in enumerate(spans.items(), start=1):
        model = _attribute(span, _MODEL)
        if model:
            found[key] = Execution(number, 0, model, _attribute(span, _REQUEST), {})
    lost = set()
    below: dict[Key, Execution] = {}
    for key, execution in found.items():
        span = spans[key]
        above = _above(key, spans, found)
        if above is not None:
            execution.parent = found[above].id
        elif _attribute(span, _ASKED_BY) not in ("", "0"):
            lost.add(execution.id)
            execution.parent = -1
        else:
            below[key[0], key[1], span.parent_span_id] = execution
    for key, span in spans.items():
        owner = found.get(key)
        if owner is None:
            above = _above(key, spans, found)
            owner = found[above] if above is not None else below.get(key)
        if owner is not None:
            stamps = {event.name: event.time_unix_nano for event in span.events}
            owner.events |= {name: ns for name, ns in stamps.items() if name in EVENTS and ns}
    return [one for one in found.values() if one.id not in lost], len(lost)


def _above(key: Key, spans: dict[Key, _Span], found: dict[Key, Execution]) -> Key | None:
    """The nearest execution above the span, in the same request to the same service instance."""
    instance, trace, _ = key
    for _ in range(_DEEPEST):
        span = spans[key]
        key = (instance, trace, span.parent_span_id)
        if span.name == _ROOT or key not in spans:
            return None
        if key in found:
            return key
    return None


def _attribute(span: _Span, name: str) -> str:
    """The attribute's value as text, empty without one."""
    for one in span.attributes:
        if one.key == name and isinstance(one.value, dict):
            return str(next(iter(one.value.values()), ""))
    return ""
