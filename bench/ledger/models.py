"""What each model spent between two dumps of Triton's statistics: exact means, and no quantiles."""

from collections.abc import Mapping, Sequence

import msgspec

from bench.record.foreign.statistics import Durations, Model, Snapshot
from pipelines.errors import ResultsError

SCHEMA = 1
COUNTERS = {
    "queue": "queue",
    "input": "compute_input",
    "computing": "compute_infer",
    "output": "compute_output",
}
"""The column of a table, and Triton's counter in it. `computing` is of the model's stage."""

UNKNOWN = (
    "what this source cannot know: single requests, and so quantiles, the tail and what was under "
    "way at once; when a client wanted and sent a request, its encoding and parsing, the network, "
    "images, users, the machine"
)
ENSEMBLE, ANOTHER = "ensemble", "another"
"""What stands in the place of a stage of a model that computes nothing, and of one that nobody has
said how it belongs to the others.
"""

OTHERS = f"counters do not say who asked a model marked {ANOTHER}: a model, or other clients"
ENSEMBLES = (
    "an ensemble has the time of its models in its own row too: rows of both must not be added"
)


class ModelTimes(msgspec.Struct, frozen=True, kw_only=True):
    """A model's part of the traffic, in milliseconds a request.

    `stage` is the stage of `computing_ms`. `total_ms` is the mean of requests that succeeded, and
    `total_s` their sum; `other_ms` is what of it is in none of the four, negative where these
    overlap, or requests were under way at a dump. `executions` by batch size are `batches`, and
    `items` are what the requests had in their batches.
    """

    model: str
    stage: str
    requests: int
    errors: int
    cached: int
    items: int
    executions: int
    batches: dict[int, int]
    queue_ms: float
    input_ms: float
    computing_ms: float
    output_ms: float
    other_ms: float
    total_ms: float
    total_s: float


class ModelTable(msgspec.Struct, frozen=True):
    """What `bench ingest` prints of two dumps as JSON."""

    schema: int
    source: str
    requests: int
    total_s: float
    models: list[ModelTimes]
    notes: list[str]


Key = tuple[str, str]


def difference(before: Sequence[Model], after: Sequence[Model]) -> dict[str, tuple[Model, Model]]:
    """Return the models that were asked in between, by name, with both their counters.

    Raises ResultsError when none was, or when a counter went backwards.
    """
    first = {(one.name, one.version): one for one in before}
    last = {(one.name, one.version): one for one in after}
    names = [name for name, _ in last]
    found = {}
    for key, now in sorted(last.items()):
        was = first.get(key, Model(*key))
        _check(was, now)
        if sum(_requests(now)) > sum(_requests(was)):
            found[" v".join(key) if names.count(key[0]) > 1 else key[0]] = (was, now)
    if not found:
        raise ResultsError(
            "no model was asked between the two dumps",
            hint="take one before the traffic and one after it, from the server that it goes to",
        )
    return found


def _requests(model: Model) -> tuple[int, int]:
    return model.inference_stats.success.count, model.inference_stats.fail.count


def _check(was: Model, now: Model) -> None:
    for name in Durations.__struct_fields__:
        old, new = (getattr(one.inference_stats, name) for one in (was, now))
        if new.count < old.count or new.ns < old.ns:
            raise ResultsError(
                f"the counter {name} of {now.name} went backwards, from {old.count} to "
                f"{new.count}: the server was restarted, or the model loaded anew, between the "
                "dumps, or they are swapped",
                hint="give the older dump first, and take both in one life of the server",
            )


def between(
    taken: Sequence[Snapshot], *, window_ns: tuple[int, int], stages: Mapping[str, str], whole: str
) -> tuple[ModelTable, tuple[int, int]] | None:
    """Return the means of each model by the first and the last snapshot in the window, with their
    times, ns; None where these say nothing.

    `whole` is the model that was asked, ENSEMBLE where it is none of `stages`. Another one is
    ANOTHER: models ask it, or others do.
    """
    start, end = window_ns
    inside = [one for one in taken if start <= one.time_ns <= end]
    if len(inside) < 2:
        return None
    first, last = inside[0], inside[-1]
    try:
        asked = difference(first.model_stats, last.model_stats)
    except ResultsError:  # nothing was asked, or a model was loaded anew
        return None
    known = {whole: ENSEMBLE} | dict(stages)
    named = {name: known.get(now.name, ANOTHER) for name, (_, now) in asked.items()}
    made = table(asked, stages=named, notes=[])
    notes = [ENSEMBLES] if ENSEMBLE in named.values() else []
    notes += [OTHERS] if ANOTHER in named.values() else []
    return msgspec.structs.replace(made, notes=notes), (first.time_ns, last.time_ns)


def inference_ms(table: ModelTable, *, whole: str) -> float | None:
    """Return the mean time that a request to the model `whole` was computed by what is inference,
    None where the table does not say.
    """
    asked = sum(one.requests for one in table.models if one.model == whole)
    parts = [one.computing_ms * one.requests for one in table.models if one.stage == "inference"]
    return sum(parts) / asked if asked and parts else None


def table(
    asked: Mapping[str, tuple[Model, Model]], *, stages: Mapping[str, str], notes: Sequence[str]
) -> ModelTable:
    """Return the means of each model; `stages` is of what each computes."""
    models = [_times(name, *both, stage=stages[name]) for name, both in asked.items()]
    return ModelTable(
        schema=SCHEMA,
        source="triton-statistics",
        requests=sum(one.requests for one in models),
        total_s=sum(one.total_s for one in models),
        models=models,
        notes=[UNKNOWN, ENSEMBLES, *notes],
    )


def _times(name: str, was: Model, now: Model, *, stage: str) -> ModelTimes:
    ns, counts = {}, {}
    for counter in Durations.__struct_fields__:
        old, new = (getattr(one.inference_stats, counter) for one in (was, now))
        ns[counter], counts[counter] = new.ns - old.ns, new.count - old.count
    per = max(1, counts["success"]) * 1e6
    columns = {f"{column}_ms": ns[counter] / per for column, counter in COUNTERS.items()}
    earlier = {batch.batch_size: batch.compute_infer.count for batch in was.batch_stats}
    batches = {
        batch.batch_size: batch.compute_infer.count - earlier.get(batch.batch_size, 0)
        for batch in now.batch_stats
    }
    return ModelTimes(
        model=name,
        stage=stage,
        requests=counts["success"],
        errors=counts["fail"],
        cached=counts["cache_hit"],
        items=now.inference_count - was.inference_count,
        executions=now.execution_count - was.execution_count,
        batches={size: count for size, count in sorted(batches.items()) if count > 0},
        other_ms=ns["success"] / per - sum(columns.values()),
        total_ms=ns["success"] / per,
        total_s=ns["success"] / 1e9,
        **columns,
    )
