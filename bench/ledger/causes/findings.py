"""Why a run is slow: from its summary to at most three causes, each with the numbers that show it
and the command to type next; `bench.report.why` has the words.

A cause is named only where its stages take a large part of the latency and nothing that was
recorded speaks against it; what older runs did not record names no cause.
"""

from collections.abc import Iterator

import msgspec

from bench.ledger.causes.next_command import (
    ab,
    attach,
    fits_gpu,
    quicker,
    run,
    serve,
    smaller,
    theirs,
)
from bench.ledger.causes.opened import opened
from bench.ledger.summary import Summary
from bench.ledger.verdict.judge import SCHEDULE_AT_MOST
from pipelines.servers.sizing import Served
from pipelines.spans import HOP
from pipelines.topologies.names import DEFAULT_TOPOLOGY, FUSED

MOST = 3
"""More than three things nobody does first."""

LARGE = 0.25
"""Of the latency: without what takes less, a request is not even a third faster. What the tax as a
whole must come to before it, and not the DNN, is to blame."""

FREE = 0.25
"""Of the cores: where so many have nothing to do, another instance finds room."""

BUSY = 0.7
"""Of an instance's time: from here on it is what others wait for, as its copies count too."""

FULL = 0.9
"""Of a core: a generator that samples see so busy is busy all the time, and has one core only."""

LARGE_PX = 1_000_000
"""From so many pixels on an image is worth making smaller before anything else is tried."""

PREPROCESS = ("decode", "resize", "normalize", "preprocess")
CLIENT = ("schedule", "encode", "send", "receive", "parse", "postprocess")
TRANSPORT = ("encode", "send", "receive", "parse")
TENSORS = ("input", "output")


_TIMED = {"inference": ("inference",), "preprocess": PREPROCESS}
_OPTIONS = {"inference": "--inference-instances", "preprocess": "--preprocess-instances"}

CODES = (
    *("PREPROCESSING", "QUEUE", "OVERSUBSCRIBED", "TRANSPORT", "ENSEMBLE_TENSORS"),
    *("IDLE_CORES", "POSTPROCESSING", "CLIENT", "BROKER", "INFERENCE"),
)
"""Every cause that can be named."""


Evidence = dict[str, float | str]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A cause: `share` is the part of the latency that it explains, and `command` the words of the
    command to type next. The names in `evidence` end in the unit of the number.
    """

    code: str
    share: float
    evidence: Evidence
    command: list[str]


def findings(summary: Summary) -> list[Finding]:
    """Return the causes of a run's latency, those that explain most of it first.

    Of a run that cannot be trusted only a late generator is said: that is why it cannot be.
    """
    if not summary.valid:
        found = list(_client(summary)) if _share(summary, "schedule") > SCHEDULE_AT_MOST else []
    else:
        seen = opened(summary)
        found = [one for cause in _CAUSES for one in cause(seen)]
    if theirs(summary):
        found = [msgspec.structs.replace(f, command=attach(summary, f.code)) for f in found]
    return sorted(found, key=lambda one: -one.share)[:MOST]


def _preprocessing(s: Summary) -> Iterator[Finding]:
    share = _share(s, *PREPROCESS)
    if share >= LARGE:
        step = max(PREPROCESS, key=lambda name: _share(s, name))
        large = s.image_px is not None and s.image_px[0] * s.image_px[1] >= LARGE_PX
        images = "{}x{}".format(*s.image_px) if s.image_px else s.images
        evidence = {"step": step, "images": images, "place": s.place} | _times(s, *PREPROCESS)
        command = quicker(s, smaller_first=large and step == "decode")
        yield _finding("PREPROCESSING", share, evidence, command)


def _waiting(s: Summary) -> Iterator[Finding]:
    """One wait has one cause: too many threads, too few instances, or a machine that is full."""
    if crowded := next(_oversubscribed(s), None):
        yield crowded
        return
    share, idle = _share(s, "queue"), _idle(s)
    if share < LARGE or (s.users == 1 and not _is_chain(s)):  # nobody else is there to wait for
        return
    evidence = _times(s, "queue") | _cores(s) | {"users": s.users}
    stage, instances, busy = _busiest(s)
    more = serve(s, _OPTIONS[stage], 2 * instances)
    if busy >= BUSY:
        evidence |= {"stage": stage, "instances": instances, "instances_busy_share": busy}
    if idle is not None and idle >= FREE and busy >= BUSY and instances < (s.cores or 0):
        more = serve(s, _OPTIONS[stage], min(2 * instances, s.cores or 1))
        yield _finding("IDLE_CORES", share, evidence, more)
        return
    if (idle is not None and idle < FREE) or s.place == "client":
        more = run(s, users=max(1, round(s.users * (1 - share))))
        if s.users == 1 and s.place == "server":
            more = ab(s, "topology", "direct" if s.topology == "fused" else "fused")
    yield _finding("QUEUE", share, evidence, more)


def _oversubscribed(s: Summary) -> Iterator[Finding]:
    """More threads compute at once than there are cores, and the server fills these."""
    if not s.cores or (s.server_cpu_share or 0.0) < (1 - FREE) * s.cores:
        return
    for model, one in _on_cpu(s).items():
        at_once = one.instances if _is_chain(s) else min(one.instances, s.users)
        threads = one.threads or s.cores
        crowd, stage = at_once * threads / s.cores, s.models[model]
        share = _share(s, *_TIMED[stage], "queue") * (1 - 1 / crowd) if crowd > 1 else 0.0
        if share >= LARGE:
            evidence: Evidence = {"model": model, "instances": one.instances, "threads": threads}
            evidence |= _cores(s) | _times(s, *_TIMED[stage], "queue")
            fewer = serve(s, _OPTIONS[stage], max(1, s.cores // threads))
            yield _finding("OVERSUBSCRIBED", share, evidence, fewer)


def _client(s: Summary) -> Iterator[Finding]:
    """The generator is late, or full while several users wait for it: one alone only works."""
    full = s.users > 1 and (s.generator_cpu_share or 0.0) >= FULL and s.place != "client"
    stages = CLIENT if full else ("schedule",)
    share = _share(s, *stages)
    if share > (LARGE if full else SCHEDULE_AT_MOST):
        evidence = _times(s, *stages) | {"users": s.users}
        if s.generator_cpu_share is not None:
            evidence["generator_cpu_share"] = s.generator_cpu_share
        fewer = run(s, users=s.users // 2) if s.users > 1 else ["bench", "selfcheck", "generator"]
        yield _finding("CLIENT", share, evidence, fewer)


def _transport(s: Summary) -> Iterator[Finding]:
    share = _share(s, *TRANSPORT)
    if share >= LARGE and not any(_client(s)):
        command = ab(s, "transport", "grpc" if s.transport == "shm" else "shm")
        if s.place == "client":
            command = ab(s, "place", "server")
        sends: Evidence = {"sends": "an image" if s.place.startswith("server") else "a tensor"}
        yield _finding("TRANSPORT", share, sends | _bytes(s) | _times(s, *TRANSPORT), command)


def _tensors(s: Summary) -> Iterator[Finding]:
    share = _share(s, *TENSORS)
    if share >= LARGE and s.place.startswith("server") and s.topology != "fused":
        command = ab(s, "place", "server-gpu" if fits_gpu(s) else "client")
        if s.place == "server" and (_is_chain(s) or not fits_gpu(s)):
            command = ab(s, "topology", "fused")
        yield _finding("ENSEMBLE_TENSORS", share, _times(s, *TENSORS), command)


def _postprocessing(s: Summary) -> Iterator[Finding]:
    share = _share(s, "postprocess")
    if share >= LARGE and not any(_client(s)):
        command = smaller(s) or run(s, users=max(1, s.users // 2))
        yield _finding("POSTPROCESSING", share, _bytes(s) | _times(s, "postprocess"), command)


def _broker(s: Summary) -> Iterator[Finding]:
    if (s.broker_share or 0.0) >= LARGE:
        command = ab(s, "topology", DEFAULT_TOPOLOGY)
        yield _finding("BROKER", s.broker_share or 0.0, _times(s, *HOP), command)


def _inference(s: Summary) -> Iterator[Finding]:
    share = _share(s, "inference")
    if share > 1 - LARGE and not any(_oversubscribed(s)):
        command = run(s, device="gpu") if s.device == "cpu" else ["bench", "plans"]
        yield _finding("INFERENCE", share, _times(s, "inference"), command)


_CAUSES = (
    *(_preprocessing, _waiting, _client, _transport),
    *(_tensors, _postprocessing, _broker, _inference),
)


def _is_chain(s: Summary) -> bool:
    """Whether it has two DNNs: only such can be connected in another way than fused."""
    several = list(s.models.values()).count("inference") > 1
    return several if s.topology == FUSED else s.topology is not None


def _share(s: Summary, *stages: str) -> float:
    return sum(s.stages[name].share for name in stages if name in s.stages)


def _finding(code: str, share: float, evidence: Evidence, command: list[str]) -> Finding:
    return Finding(code=code, share=share, evidence=evidence, command=command)


def _times(s: Summary, *stages: str) -> Evidence:
    """What the stages take, and all together, in milliseconds."""
    means = {name: one.mean_ms for name, one in s.stages.items()}
    taken: Evidence = {f"{name}_ms": means[name] for name in stages if means.get(name)}
    return taken | {"latency_ms": sum(means.values())}


def _bytes(s: Summary) -> Evidence:
    told = {"sent_bytes": s.bytes_in, "received_bytes": s.bytes_out}
    return {name: value for name, value in told.items() if value is not None}


def _cores(s: Summary) -> Evidence:
    told = {"busy_cores": s.busy_cores, "server_cpu_share": s.server_cpu_share, "cores": s.cores}
    return {name: value for name, value in told.items() if value is not None}


def _idle(s: Summary) -> float | None:
    """The part of the cores that had nothing to do, None where nobody watched the server."""
    if s.server_cpu_share is None or s.busy_cores is None or not s.cores:
        return None
    return max(0.0, 1 - s.busy_cores / s.cores)


def _on_cpu(s: Summary) -> dict[str, Served]:
    """The models that take part in the run and compute on the CPU."""
    asked = ("inference", "preprocess") if s.place == "server" else ("inference",)
    return {
        name: one for name, one in s.served.items() if not one.gpu and s.models.get(name) in asked
    }


def _busiest(s: Summary) -> tuple[str, int, float]:
    """The stage whose instances on the CPU have most to do: how many these are at least, and the
    part of the time that all of them work; more are on duty where it is of several models.
    """
    found = [("inference", 1, 0.0)]
    for stage, timed in _TIMED.items():
        counts = [one.instances for name, one in _on_cpu(s).items() if s.models[name] == stage]
        work_s = sum(s.stages[name].work_ms for name in timed if name in s.stages) / 1e3
        if sum(counts):
            found.append((stage, min(counts), min(1.0, s.throughput_per_s * work_s / sum(counts))))
    return max(found, key=lambda one: one[2])
