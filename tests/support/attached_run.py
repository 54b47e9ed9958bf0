"""A hand-made run on a server that was attached to."""

from __future__ import annotations

from pathlib import Path

from experiments import MS, manifest, write_run

from bench.record import trace
from bench.record.foreign.statistics import Counter, Durations, Model, Snapshot
from bench.record.manifest import ATTACHED, Source
from pipelines.spans import Call, Request, Span


def attached(folder: Path, level: str, *, ids: list[str], seen: list[str]) -> Path:
    """A run of these requests, 100 ms each, of whose calls, from 10 to 90 ms, some were seen."""
    made = [
        Request(
            *(id, "whole", at, at, at + 100 * MS, None, 10, 10),
            *([Span("decode", at, at + 10 * MS, "client")], [Call(id, at + 10 * MS, at + 90 * MS)]),
        )
        for id, at in ((id, number * 200 * MS) for number, id in enumerate(ids))
    ]
    source = Source(kind=ATTACHED, files=[], notes=["level"], level=level)
    told = manifest(transport="http", stages={"dnn": "inference"}, source=source, pipeline="whole")
    write_run(folder, told, made)
    rows = []
    for number, one in enumerate(one for one in made if one.id in seen):
        at = one.due_ns
        whole, dnn = 2 * number + 1, 2 * number + 2
        rows.append(row(one.id, "whole", whole, 0, at, start=20, end=85))
        steps = {"COMPUTE_START": 35, "COMPUTE_INPUT_END": 36, "COMPUTE_OUTPUT_START": 76}
        rows.append(row(one.id, "dnn", dnn, whole, at, start=25, end=80, **steps, COMPUTE_END=77))
    trace.write(folder, rows)
    return folder


def row(id: str, model: str, number: int, parent: int, at: int, **events: int) -> list[object]:
    """An execution whose events are so many ms after `at`."""
    names = {"REQUEST_START": events.pop("start"), "REQUEST_END": events.pop("end")} | events
    stamps = [at + names[name] * MS if name in names else 0 for name in trace.EVENTS]
    return [id, model, number, parent, *stamps]


def counted(at_ns: int, requests: int, *, computing_ms: float) -> Snapshot:
    took = Counter(requests, round(requests * computing_ms * MS))
    stats = Durations(success=Counter(requests, took.ns + requests * MS), compute_infer=took)
    return Snapshot(at_ns, [Model("whole", "1", requests, requests, stats)])
