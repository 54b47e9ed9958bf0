"""Which resource saturates: the one whose time grew most from a load that was held to one that was
not.

What is saturated is waited for (Lazowska, Zahorjan, Graham and Sevcik 1984, Quantitative System
Performance, 5): below the knee its time is that of its work, beyond it grows without end. Time in a
queue belongs to what is waited for there: a model's, where the server's trace or its counters tell
whose queue it is; the generator's, where requests wait for one of those that may be under way; and
in a broker the workers, where these are busy.
"""

import msgspec

from bench.ledger.causes.findings import BUSY, FULL, PREPROCESS
from bench.ledger.causes.opened import opened
from bench.ledger.summary import Summary
from bench.predict.points import Measured
from pipelines.spans import HOP, OTHER

PREPROCESSING, INFERENCE, TENSORS = "preprocessing", "inference", "tensors"
BROKER, NETWORK, GENERATOR = "broker", "network", "generator"
POSTPROCESSING, BOUND, SERVER = "postprocessing", "in flight", "server"
"""The resources. BOUND is the most requests that may be under way: all were, and the rest waited
for one to end, while the server itself did not get slower.
"""

_RESOURCE = {
    **dict.fromkeys(PREPROCESS, PREPROCESSING),
    **dict.fromkeys((*HOP, "gather"), BROKER),
    **dict.fromkeys(("send", "receive"), NETWORK),
    **dict.fromkeys(("schedule", "encode", "parse"), GENERATOR),
    **dict.fromkeys(("input", "output"), TENSORS),
    "inference": INFERENCE,
    "postprocess": POSTPROCESSING,
    "server": SERVER,
    OTHER: SERVER,
}


_AT_WORK = (PREPROCESSING, INFERENCE, TENSORS, POSTPROCESSING)
"""What workers do, or have done."""


class Saturation(msgspec.Struct, frozen=True, kw_only=True):
    """The resource that saturates, and `where`: the model whose queue holds most of it, or empty.

    Its time grew from `from_ms` to `to_ms` a request, `share` of all that the latency grew. The
    cores that were busy, and those of the machine, are None where nobody watched.
    """

    resource: str
    where: str
    from_ms: float
    to_ms: float
    share: float
    busy_cores: float | None
    cores: int | None
    generator_cpu_share: float | None


def saturation(low: Measured, high: Measured) -> Saturation | None:
    """Return what a run waited for, beside one of the same with a load that was held; None where
    nothing got slower, or one of them has no answers.
    """
    before, after = _times(low), _times(high)
    grew = {key: ms - before.get(key, 0.0) for key, ms in after.items()}
    whole = sum(grew.values())
    if not before or not after or whole <= 0:
        return None
    by_resource: dict[str, float] = {}
    for (resource, _), ms in grew.items():
        by_resource[resource] = by_resource.get(resource, 0.0) + ms
    found = _named(by_resource, high.summary, unloaded_ms=sum(before.values()))
    wheres = {where: ms for (resource, where), ms in grew.items() if resource == found}
    # Where messages wait for the workers, the broker's time is the wait for what these do.
    own = {found, BROKER} if high.summary.workers and found in _AT_WORK else {found}
    return Saturation(
        resource=found,
        where=max(wheres, key=wheres.__getitem__, default=""),
        from_ms=sum(ms for (resource, _), ms in before.items() if resource in own),
        to_ms=sum(ms for (resource, _), ms in after.items() if resource in own),
        share=min(1.0, max(0.0, sum(by_resource.get(one, 0.0) for one in own) / whole)),
        busy_cores=high.summary.busy_cores,
        cores=high.summary.cores,
        generator_cpu_share=high.summary.generator_cpu_share,
    )


def _named(grew: dict[str, float], after: Summary, *, unloaded_ms: float) -> str:
    full = (after.generator_cpu_share or 0.0) >= FULL and after.place != "client"
    if full:
        return GENERATOR
    behind = {resource: ms for resource, ms in grew.items() if resource != BOUND}
    if grew.get(BOUND, 0.0) > 0 and sum(behind.values()) < unloaded_ms:
        return BOUND
    found = max(behind, key=behind.__getitem__)
    if found == BROKER and _workers_busy(after):
        times = {name: time.mean_ms for name, time in after.stages.items()}
        worked: dict[str, float] = {}
        for stage, ms in times.items():
            resource = _RESOURCE.get(stage, SERVER)
            if resource not in (BROKER, GENERATOR):
                worked[resource] = worked.get(resource, 0.0) + ms
        found = max(worked, key=worked.__getitem__)
    return found


def _workers_busy(after: Summary) -> bool:
    """Whether messages wait for workers that are busy, and not for the broker: then those of one
    stage at least have no time left.
    """
    if not after.workers:
        return False
    away = (*HOP, "gather", "schedule", OTHER)
    each_ms = sum(time.mean_ms for name, time in after.stages.items() if name not in away)
    at_work = after.throughput_per_s * each_ms / 1e3
    return at_work >= BUSY * min(after.workers)


def _times(one: Measured) -> dict[tuple[str, str], float]:
    """Milliseconds a request by resource and where, the time in queues with what is waited for."""
    seen = opened(one.summary)
    found: dict[tuple[str, str], float] = {}
    for stage, time in seen.stages.items():
        if stage != "queue":
            key = (_RESOURCE.get(stage, SERVER), "")
            found[key] = found.get(key, 0.0) + time.mean_ms
    queued_ms = seen.stages["queue"].mean_ms if "queue" in seen.stages else 0.0
    waits = one.waits_ms or _counted(seen)
    for model, ms in waits.items():
        key = (_RESOURCE.get(seen.models.get(model, ""), SERVER), model)
        found[key] = found.get(key, 0.0) + ms
    left = queued_ms - sum(waits.values())
    if left > 0:
        key = (BOUND if seen.schedule is not None or not waits else SERVER, "")
        found[key] = found.get(key, 0.0) + left
    return found


def _counted(seen: Summary) -> dict[str, float]:
    """The waits by the counters of a server that was attached to."""
    if not seen.counters or not seen.level:
        return {}
    asked = sum(one.requests for one in seen.counters.models if one.model == seen.pipeline)
    return {
        one.model: one.queue_ms * one.requests / asked
        for one in seen.counters.models
        if asked and one.model in seen.models
    }
