"""Runs as OpenTelemetry's spans, to a collector or as lines of OTLP's JSON: a trace a request.

Its root lasts from due to end and has the ledger's times. Below lie the spans of its stages as they
were recorded, and Triton's executions with the names that its own OpenTelemetry mode has for them,
so that `bench ingest` reads what is written here.
"""

import base64
import contextlib
import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pandas as pd
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from bench.ledger.attribution.bit_by_bit import Requests
from bench.ledger.attribution.ledger import Timeline
from bench.ledger.units import clean
from bench.record.foreign.traffic import Execution, executions
from bench.report.exports.rows import image_of
from pipelines.errors import VisiontaxError
from pipelines.spans import Request

NAME = "visiontax"
TOGETHER = 50
"""So many requests are a line, or one request to the collector: far below what that accepts."""

_SCOPE, _SAMPLED = InstrumentationScope(NAME), TraceFlags(TraceFlags.SAMPLED)
_IDS = ("traceId", "spanId", "parentSpanId")
_EARLY = "GRPC_WAITREAD_START"
"""When Triton began to wait for any request, before there was this one."""


def write(runs: Sequence[Path], file: BinaryIO) -> None:
    """Write the requests of the runs, an ExportTraceServiceRequest a line.

    Raises ResultsError of a run without requests or a wall clock.
    """
    for batch in _batches(runs):
        packed = MessageToDict(encode_spans(batch), use_integers_for_enums=True)
        for resource in packed["resourceSpans"]:
            for span in resource["scopeSpans"][0]["spans"]:
                # OTLP's JSON has ids in hexadecimal, where that of protobufs has base64.
                span |= {id: base64.b64decode(span[id]).hex() for id in _IDS if id in span}
        file.write(msgspec.json.encode(packed) + b"\n")


def send(runs: Sequence[Path], endpoint: str) -> int:
    """Send the requests of the runs to a collector, by HTTP, as the SDK does: the variables
    OTEL_EXPORTER_OTLP_... give it headers, certificates and a time limit. Return how many.

    Raises VisiontaxError when it does not take them, and as `write` does.
    """
    sent = 0
    with _heard(trace_exporter.__name__) as said:
        exporter = trace_exporter.OTLPSpanExporter(endpoint=endpoint)
        for batch in _batches(runs):
            if exporter.export(batch) is not SpanExportResult.SUCCESS:
                why = clean(said[-1] if said else "it does not say why")
                raise VisiontaxError(
                    f"{endpoint} did not take the spans: {why}",
                    hint="an OpenTelemetry collector listens for OTLP over HTTP at "
                    "http://HOST:4318/v1/traces",
                )
            sent += sum(span.parent is None for span in batch)
    return sent


@contextlib.contextmanager
def _heard(name: str) -> Iterator[list[str]]:
    """What a logger says, in the place of printing it."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def _batches(runs: Sequence[Path]) -> Iterator[list[ReadableSpan]]:
    for folder in runs:
        traces = _traces(Requests(folder))
        while some := list(islice(traces, TOGETHER)):
            yield [span for trace in some for span in trace]


def _traces(run: Requests) -> Iterator[list[ReadableSpan]]:
    resource = Resource({"service.name": NAME, "service.instance.id": clean(run.manifest.run)})
    unix_ns = run.manifest.unix_from_ns()
    for requests, timelines, rows in run.closely():
        executed = _executed(requests, rows)
        answered = iter(timelines)
        for request in requests:
            trace = _Trace(resource, f"{run.manifest.run}/{request.id}", unix_ns)
            _add(trace, run, request, None if request.error is not None else next(answered))
            _add_executions(trace, executed.get(request.id, []))
            yield trace.spans


def _executed(requests: Sequence[Request], rows: pd.DataFrame) -> dict[str, list[Execution]]:
    """What Triton executed for each request, by its id."""
    owner = {call.id: one.id for one in requests for call in one.calls}
    owner |= {one.id: one.id for one in requests}
    found: dict[str, list[Execution]] = {}
    for one, id in zip(
        executions(rows.itertuples(index=False, name=None)), rows["request"], strict=True
    ):
        found.setdefault(owner[id], []).append(one)
    return found


class _Trace:
    """The spans of one request. Their ids are the same in every export of it."""

    def __init__(self, resource: Resource, name: str, unix_ns: int) -> None:
        self._resource, self._unix_ns = resource, unix_ns
        self._id = _hashed(name.encode(), 16)
        self.spans: list[ReadableSpan] = []

    def _at(self, ns: int) -> int:
        return max(0, ns + self._unix_ns)  # below 0 is only what is damaged

    def add(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: dict[str, Any],
        *,
        events: dict[str, int] | None = None,
        parent: SpanContext | None = None,
        error: str | None = None,
    ) -> SpanContext:
        """Add a span, the first of which is the root, and by default the parent of the others."""
        number = self._id + len(self.spans).to_bytes(4)
        context = SpanContext(
            *(int.from_bytes(self._id), int.from_bytes(_hashed(number, 8))),
            is_remote=False,
            trace_flags=_SAMPLED,
        )
        told = {key: value for key, value in attributes.items() if value is not None}
        self.spans.append(
            ReadableSpan(
                name,
                context,
                parent or (self.spans[0].context if self.spans else None),
                self._resource,
                told,
                [Event(name, timestamp=self._at(ns)) for name, ns in (events or {}).items()],
                kind=SpanKind.INTERNAL if self.spans else SpanKind.CLIENT,
                status=Status(StatusCode.ERROR, error) if error is not None else Status(),
                start_time=self._at(start_ns),
                end_time=self._at(max(start_ns, end_ns)),
                instrumentation_scope=_SCOPE,
            )
        )
        return context


def _hashed(data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()


def _add(trace: _Trace, run: Requests, request: Request, closely: Timeline | None) -> None:
    """Add the request with what is known of it, and a span for each that was recorded."""
    ledger = Counter[str]()
    for stage, start, end in closely.segments if closely else ():
        ledger[f"{NAME}.ledger.{stage}_ns"] += end - start
    told = {
        f"{NAME}.request_id": clean(request.id),
        f"{NAME}.image": image_of(run, request),
        f"{NAME}.measured": run.manifest.measures(request.due_ns),
        f"{NAME}.traced": closely.joined if closely else None,
        f"{NAME}.bytes_in": request.bytes_in,
        f"{NAME}.bytes_out": request.bytes_out,
    }
    error = None if request.error is None else clean(request.error)
    times = (request.due_ns, request.end_ns)
    trace.add(clean(request.pipeline), *times, told | ledger, error=error)
    for span in closely.spans if closely else request.spans:
        told = {
            f"{NAME}.where": clean(span.where),
            f"{NAME}.items": span.items,
            f"{NAME}.critical": span.critical,
        }
        trace.add(clean(span.stage), span.start_ns, span.end_ns, told)


def _add_executions(trace: _Trace, found: Sequence[Execution]) -> None:
    """Add Triton's own, each below the one that asked for it."""
    above: dict[int, SpanContext] = {}
    for one in sorted(found, key=lambda each: each.id):
        stamps = [ns for name, ns in one.events.items() if name != _EARLY]
        if stamps:
            above[one.id] = trace.add(
                one.model,
                min(stamps),
                max(stamps),
                {
                    "triton.model_name": one.model,
                    "triton.request_id": one.request,
                    "triton.trace_id": one.id,
                },
                events=one.events,
                parent=above.get(one.parent),
            )
