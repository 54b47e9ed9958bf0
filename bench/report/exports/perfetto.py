"""A few requests of a run as a file for ui.perfetto.dev, in Perfetto's own protobufs.

One group of tracks: the window of measurement, counters, and a group for each request. In that lie
the ledger's stages, which follow each other without a gap, and all spans as they were recorded.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    BuiltinClock,
    TrackDescriptor,
    TrackEvent,
)
from perfetto.trace_builder.proto_builder import TraceProtoBuilder

from bench.ledger.attribution.ledger import Timeline
from bench.ledger.reading import Reading
from bench.ledger.sources.cpu import ROLES
from bench.ledger.summary import Summary
from bench.ledger.units import clean, number
from bench.record.files import write_atomically
from bench.record.records import Crowd, Image, Sample, read_crowds, read_images, read_samples
from pipelines.spans import Span

LEDGER, SPAN, REQUEST, RUN = "ledger", "span", "request", "run"
"""The categories of slices."""

Told = Mapping[str, Any]
"""Words and numbers by what they are."""


class Slice(NamedTuple):
    """A bar on a track; what is `told` is shown when it is clicked."""

    name: str
    start_ns: int
    end_ns: int
    told: Told


def write(file: Path, reading: Reading, chosen: Sequence[Timeline]) -> None:
    """Write the chosen requests of the run, in their order, and what else was recorded of it.

    Raises ResultsError when the file cannot be written.
    """
    summary, trace = reading.summary(), _Trace()
    trace.clock(reading.manifest.clock)
    group = trace.track(clean(f"{summary.run}: {_verdict(summary)}"))
    _draw_window(trace, group, reading, summary)
    for name, unit, changes in _counters(reading.folder):
        trace.counter(trace.track(name, parent=group, unit=unit), _since(changes))
    images = read_images(reading.folder)
    for place, one in enumerate(chosen, start=1):
        _draw_request(trace, group, one, place=place, images=images)
    write_atomically(file, trace.packed())


def lanes(spans: Iterable[Slice]) -> list[list[Slice]]:
    """Divide bars into as few tracks as they come to, in time: of two on one track either one
    follows the other or it lies within it. Those that take no time are left out.
    """
    found: list[list[Slice]] = []
    running: list[list[int]] = []  # of each, the ends that are still to come
    lasting = [one for one in spans if one.start_ns < one.end_ns]
    for one in sorted(lasting, key=lambda one: (one.start_ns, -one.end_ns)):
        for ends in running:
            while ends and ends[-1] <= one.start_ns:
                ends.pop()
        fits = (not ends or one.end_ns <= ends[-1] for ends in running)
        place = next((at for at, fitting in enumerate(fits) if fitting), len(found))
        if place == len(found):
            found.append([])
            running.append([])
        found[place].append(one)
        running[place].append(one.end_ns)
    return found


class _Trace:
    """The packets of a file, all in one sequence, and the numbers of its tracks."""

    def __init__(self) -> None:
        self._builder, self._tracks = TraceProtoBuilder(), 0

    def packed(self) -> bytes:
        return bytes(self._builder.serialize())

    def clock(self, anchor: Mapping[str, Any]) -> None:
        """Say when that was by the wall clock, where it is known."""
        if {"monotonic_ns", "unix_ns"} <= anchor.keys():
            snapshot = self._builder.add_packet().clock_snapshot
            snapshot.primary_trace_clock = BuiltinClock.BUILTIN_CLOCK_MONOTONIC
            for clock, at in (("MONOTONIC", "monotonic_ns"), ("REALTIME", "unix_ns")):
                id = BuiltinClock.Value(f"BUILTIN_CLOCK_{clock}")
                snapshot.clocks.add(clock_id=id, timestamp=int(anchor[at]))

    def track(self, name: str, *, parent: int = 0, unit: str = "") -> int:
        """Add a track below those that its parent has; a counter has a unit."""
        self._tracks += 1
        made = self._builder.add_packet().track_descriptor
        made.uuid, made.name, made.sibling_order_rank = self._tracks, name, self._tracks
        made.child_ordering = TrackDescriptor.EXPLICIT
        made.sibling_merge_behavior = TrackDescriptor.SIBLING_MERGE_BEHAVIOR_NONE
        if parent:
            made.parent_uuid = parent
        if unit:
            made.counter.unit_name = unit
        return self._tracks

    def counter(self, track: int, values: Iterable[tuple[int, float]]) -> None:
        for at_ns, value in values:
            self._event(track, at_ns, "COUNTER").double_counter_value = value

    def slices(self, track: int, lane: Iterable[Slice], *, category: str) -> None:
        """Draw bars that follow each other or lie within each other, in the order of `lanes`."""
        ends: list[int] = []
        for one in lane:
            while ends and ends[-1] <= one.start_ns:
                self._event(track, ends.pop(), "SLICE_END")
            begin = self._event(track, one.start_ns, "SLICE_BEGIN")
            begin.name = one.name
            begin.categories.append(category)
            for name, value in one.told.items():
                kind = {bool: "bool", int: "int", float: "double", str: "string"}[type(value)]
                begin.debug_annotations.add(**{"name": name, f"{kind}_value": value})
            ends.append(one.end_ns)
        while ends:
            self._event(track, ends.pop(), "SLICE_END")

    def _event(self, track: int, at_ns: int, kind: str) -> Any:
        packet = self._builder.add_packet()
        packet.timestamp, packet.trusted_packet_sequence_id = at_ns, 1
        packet.track_event.type = TrackEvent.Type.Value(f"TYPE_{kind}")
        packet.track_event.track_uuid = track
        return packet.track_event


def _verdict(summary: Summary) -> str:
    return "VALID" if summary.valid else "INVALID"


def _draw_window(trace: _Trace, group: int, reading: Reading, summary: Summary) -> None:
    """The window with what was asked for, and in it, as long, each reason for doubt."""
    settings = msgspec.structs.asdict(reading.manifest.settings)
    told: dict[str, Any] = {
        name: clean(str(value)) for name, value in settings.items() if value is not None
    }
    told |= {"requests": summary.requests, "errors": summary.errors, "machine": summary.machine}
    start, end = reading.window_ns
    bars = [Slice(f"measured: {_verdict(summary)}", start, end, told)]
    for issue in summary.issues:
        kind = "invalid" if issue.invalid else "warning"
        said = {"message": clean(issue.message), "hint": clean(issue.hint)}
        bars.append(Slice(f"{kind} {issue.code}", start, end, said))
    track = trace.track("measurement", parent=group)
    for lane in lanes(bars):
        trace.slices(track, lane, category=RUN)


def _draw_request(
    trace: _Trace, group: int, one: Timeline, *, place: int, images: Sequence[Image]
) -> None:
    asked = one.request
    id, ms = clean(asked.id), (asked.end_ns - asked.due_ns) / 1e6
    told = {
        "request": id,
        "place": place,
        "pipeline": clean(asked.pipeline),
        "latency_ms": ms,
        "bytes_in": asked.bytes_in,
        "bytes_out": asked.bytes_out,
        "traced": one.joined,
    }
    said = [f"{place}. {id}", f"{number(ms)} ms"]
    if asked.image is not None and asked.image < len(images):
        image = images[asked.image]
        told["image"] = clean(image.name)
        said.append(f"{told['image']} {image.width}x{image.height}")
    above = trace.track(" · ".join(said), parent=group)
    whole = Slice(id, asked.due_ns, asked.end_ns, told)
    trace.slices(above, lanes([whole])[0], category=REQUEST)
    stages = [Slice(*segment, {"request": id}) for segment in one.segments]
    trace.slices(trace.track("ledger", parent=above), stages, category=LEDGER)
    for lane in lanes(_bars(one.spans, id)):
        track = trace.track("spans", parent=above)
        trace.slices(track, lane, category=SPAN)


def _bars(spans: Iterable[Span], id: str) -> Iterator[Slice]:
    for one in spans:
        told = {"where": clean(one.where), "items": one.items, "critical": one.critical}
        yield Slice(clean(one.stage), one.start_ns, one.end_ns, told | {"request": id})


Changes = list[tuple[int, float]]
"""By how much something changes, and when, in ns."""


def _counters(folder: Path) -> Iterator[tuple[str, str, Changes]]:
    """What was counted all along: its name, its unit and its changes."""
    if in_flight := [change for crowd in read_crowds(folder) for change in _of_crowd(crowd)]:
        yield "in flight", "requests", in_flight
    samples = read_samples(folder)
    for role in ROLES:
        if used := _of_cpu(one for one in samples if one.role == role):
            yield f"{role} CPU", "% of a core", used


def _of_crowd(crowd: Sequence[Crowd]) -> Iterator[tuple[int, float]]:
    before = 0
    for one in crowd:
        yield one.time_ns, one.requests - before
        before = one.requests


def _of_cpu(samples: Iterable[Sample]) -> Changes:
    """Of each process its mean from one sample to the next, then none."""
    by_process: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_process[sample.pid].append(sample)
    changes: Changes = []
    for taken in by_process.values():
        for one, next in pairwise(taken):
            if one.time_ns < next.time_ns:
                share = (next.cpu_s - one.cpu_s) / ((next.time_ns - one.time_ns) / 1e9)
                changes += [(one.time_ns, 100 * share), (next.time_ns, -100 * share)]
    return changes


def _since(changes: Changes) -> Iterator[tuple[int, float]]:
    """Yield what the changes come to from each moment on, without the dust of the arithmetic."""
    total = 0.0
    for at_ns, some in groupby(sorted(changes), key=itemgetter(0)):
        total += sum(change for _, change in some)
        yield at_ns, round(total, 6) + 0.0
