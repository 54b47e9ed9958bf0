"""Production traffic as ordinary runs, one for each model that clients ask for: what each instant
of a request was spent on at the server, by the events of its executions.

A request lasts from the first byte that the server had of it to the last byte of its reply: of
`send` and `receive` this is the server's part. Nothing of the client is known.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.record import trace
from bench.record.files import write_atomically
from bench.record.folders import new_folder
from bench.record.foreign.traffic import RECEIVED, SENT, Execution, Traffic
from bench.record.manifest import SCHEMA, Manifest, Source, write_manifest
from bench.record.scenario import Settings
from pipelines.errors import ResultsError
from pipelines.spans import Request, Span
from pipelines.topologies.names import INGESTED

UNKNOWN = "unknown"
COMPUTING = ("preprocess", "decode", "resize", "normalize", "inference", "postprocess")
"""The stages that a model's computing may be of."""

_GUESSES = {
    "postprocess": r"post_?-?proc|(^|[^a-z])nms([^a-z]|$)",
    "preprocess": r"pre_?-?proc|decod|resiz|normali[sz]|transform",
}
_CANNOT = (
    "what this source cannot know: when a client wanted and sent a request, its encoding and "
    "parsing, the network, requests that were not traced, images, users, batches, the machine. "
    "Latency is from the server's first byte of a request to its last of the reply, send and "
    "receive are the server's part of them, and work is not divided by a batch"
)
_LEAVES = ("HTTP_SEND_START", "GRPC_SEND_START")


def stages_of(
    models: Mapping[str, bool], given: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the stage of what each model computes, and of which it was guessed, with the reason.

    `models` says of each model whether it asks others itself. Raises ResultsError when one that is
    `given` is none of them.
    """
    strange = sorted(given.keys() - models.keys())
    if strange:
        raise ResultsError(
            f"--stage names models that are not in the source: {', '.join(strange)}",
            hint=f"it has: {', '.join(sorted(models))}",
        )
    stages, guessed = {}, {}
    for model, asks in sorted(models.items()):
        found = re.search("|".join(f"({one})" for one in _GUESSES.values()), model.lower())
        if model in given:
            stages[model] = given[model]
            continue
        guess, why = "inference", ""
        if found:
            guess = next(stage for stage, one in _GUESSES.items() if re.search(one, model.lower()))
            why = f"its name has {found[0].strip('-_')!r} in it"
        elif asks:
            guess, why = "preprocess", "it asks other models itself, and computes around them"
        stages[model] = guess
        if why:
            guessed[model] = (
                f"guessed: {model} is {guess}, for {why}; say otherwise with --stage {model}=STAGE"
            )
    return stages, guessed


def computing(roots: Iterable[Execution]) -> dict[str, bool]:
    """Return the models that compute for these requests, and whether each asks others itself."""
    everything = [one for root in roots for one in root.all()]
    asks = {one.model: False for one in everything if one.at("COMPUTE_START") or not one.calls}
    return asks | {one.model: True for one in everything if one.at("COMPUTE_START") and one.calls}


def write_runs(
    traffic: Traffic, *, kind: str, files: list[Path], given: Mapping[str, str], results: Path
) -> list[Path]:
    """Write a run for each model that was asked for, and return their folders.

    Raises ResultsError when there is no whole request, and as `stages_of` and `new_folder` do.
    """
    if not traffic.roots:
        names = ", ".join(path.name for path in files)
        raise ResultsError(
            f"there is no whole request in {names}",
            hint="record with the level TIMESTAMPS while requests are made, and stop tracing first",
        )
    stages, guessed = stages_of(computing(traffic.roots), given)
    by_model = defaultdict(list)
    for root in traffic.roots:
        by_model[root.model].append(root)
    notes = [_CANNOT, *_seen(traffic)]
    folders = []
    for model, roots in sorted(by_model.items()):
        own = {one.model for root in roots for one in root.all()}
        told = [note for name, note in guessed.items() if name in own]
        told += _assumed(roots[0], stages, given)
        source = Source(kind=kind, files=[path.name for path in files], notes=notes + told)
        folder = new_folder(results, f"{INGESTED}-{re.sub(r'[^A-Za-z0-9._-]+', '_', model)[:80]}")
        used = {name: stage for name, stage in stages.items() if name in own}
        _write(folder, roots, stages=used, source=source, traffic=traffic)
        folders.append(folder)
    return folders


def _assumed(root: Execution, stages: Mapping[str, str], given: Mapping[str, str]) -> Iterator[str]:
    """Say so of an ensemble in which no model's name speaks of preprocessing."""
    if root.at("COMPUTE_START") or len(root.calls) < 2:
        return
    first = root.calls[0].model
    if first not in given and {stages.get(one.model) for one in root.calls} == {"inference"}:
        yield (
            f"assumed: every model of {root.model} is inference; if the first preprocesses, say "
            f"--stage {first}=preprocess"
        )


def _seen(traffic: Traffic) -> Iterator[str]:
    if traffic.lost:
        yield f"{traffic.lost} executions are left out: their requests are not whole in the source"
    if traffic.instances > 1:
        yield (
            f"{traffic.instances} service instances took part: each request is timed by one clock, "
            "and the throughput is as right as their clocks agree"
        )


def _write(
    folder: Path,
    roots: list[Execution],
    *,
    stages: Mapping[str, str],
    source: Source,
    traffic: Traffic,
) -> None:
    names = _names(roots)
    requests = [
        _request(root, name, stages=stages) for root, name in zip(roots, names, strict=True)
    ]
    start, end = min(one.due_ns for one in requests), max(one.end_ns for one in requests)
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in requests)
    write_atomically(folder / "requests-0.jsonl", lines)
    trace.write(folder, _rows(roots, names))
    settings = Settings(
        pipeline=roots[0].model,
        images=UNKNOWN,
        preprocess=UNKNOWN,
        place=UNKNOWN,
        transport=INGESTED,
        users=0,
        warmup_s=0.0,
        device=UNKNOWN,
    )
    manifest = Manifest(
        schema=SCHEMA,
        run=folder.name,
        settings=settings,
        image_sizes={},
        stages=dict(stages),
        machine={},
        versions={},
        sha256={},
        revision=None,
        clock={"monotonic_ns": start, "unix_ns": start} if traffic.unix else {},
        window_start_ns=start,
        window_end_ns=None if traffic.cut else end + 1,
        source=source,
    )
    write_manifest(folder, manifest)


def _names(roots: list[Execution]) -> list[str]:
    """An id for each request: its own where nobody else has it, else with its number."""
    seen: dict[str, int] = defaultdict(int)
    for root in roots:
        seen[root.request] += 1
    names = [
        root.request if root.request and seen[root.request] == 1 else f"{root.request}#{root.id}"
        for root in roots
    ]
    if len(set(names)) == len(names):
        return names
    return [f"#{root.id}" for root in roots]


def _rows(roots: list[Execution], names: list[str]) -> Iterator[list[Any]]:
    for root, name in zip(roots, names, strict=True):
        for one in sorted(root.all(), key=lambda each: each.id):
            stamps = [one.events.get(event, 0) for event in trace.EVENTS]
            yield [name, one.model, one.id, one.parent, *stamps]


def _request(root: Execution, name: str, *, stages: Mapping[str, str]) -> Request:
    """The request of a root execution, with a span for all that is known."""
    inside = served(root, stages)
    due = min(root.at(*RECEIVED) or inside.start_ns, inside.start_ns)
    end = max(root.at(*SENT) or inside.end_ns, inside.end_ns, due)
    ways = [
        Span("send", due, inside.start_ns, "server"),
        Span("receive", inside.end_ns, end, "server"),
    ]
    spans = [one for one in (*ways, *inside.spans) if one.end_ns > one.start_ns]
    error = None
    if not inside.computed:
        error = "no model computed: refused, failed, or answered from the server's cache"
    return Request(name, root.model, due, due, end, error, 0, 0, spans, [])


class Inside(NamedTuple):
    """A request's time in the server: from when it had arrived to when the reply left."""

    start_ns: int
    end_ns: int
    spans: list[Span]
    computed: bool


def served(root: Execution, stages: Mapping[str, str]) -> Inside:
    """Return what the server spent on the request of a root execution.

    `stages` is of what each model computes; of one that it does not know it is `inference`.
    """
    arrived = root.at("REQUEST_START")
    computed = max((one.end_ns for one in root.all() if one.at("COMPUTE_END")), default=0)
    leaves = root.at(*_LEAVES) or max(root.at("REQUEST_END"), computed)
    found = [span for one in root.all() for span in _spans(one, stages)]
    if computed:
        found.append(Span("output", computed, max(computed, leaves), root.model))
    spans = [
        msgspec.structs.replace(span, end_ns=min(span.end_ns, leaves))
        for span in found
        if span.end_ns > span.start_ns and span.start_ns < leaves
    ]
    return Inside(arrived, leaves, spans, bool(computed))


def _spans(one: Execution, stages: Mapping[str, str]) -> Iterator[Span]:
    """What an execution's time was spent on, but for what those took that it asked for.

    An ensemble computes nothing: what its models do not take is the scheduler's.
    """
    start, taken, ready, made, done = (
        one.events.get(name, 0)
        for name in (
            *("REQUEST_START", "COMPUTE_START", "COMPUTE_INPUT_END"),
            *("COMPUTE_OUTPUT_START", "COMPUTE_END"),
        )
    )
    if not taken:
        last = max((each.end_ns for each in one.calls), default=start)
        yield from (Span("queue", *gap, one.model) for gap in _gaps(one.calls, start, last))
        return
    ready, made = ready or taken, made or done
    yield Span("queue", start, taken, one.model)
    yield Span("input", taken, ready, one.model)
    stage = stages.get(one.model, "inference")
    yield from (Span(stage, *gap, one.model) for gap in _gaps(one.calls, ready, made))
    yield Span("output", made, done, one.model)


def _gaps(calls: list[Execution], start: int, end: int) -> Iterator[tuple[int, int]]:
    """The times from start to end in which none of the calls was under way."""
    for call in sorted(calls, key=lambda one: one.at("REQUEST_START")):
        yield start, min(call.at("REQUEST_START"), end)
        start = max(start, call.end_ns)
    yield start, end
