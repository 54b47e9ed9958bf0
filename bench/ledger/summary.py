"""From a run's ledger to its summary: the numbers that every report prints, and nothing else."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from bench.ledger.attribution.table import COLUMNS, INDEX, Ledger
from bench.ledger.mix import Group
from bench.ledger.models import ModelTable
from bench.ledger.quantiles import Quantile, quantile
from bench.ledger.sources.cpu import cpu_shares
from bench.ledger.sources.energy import Energy
from bench.ledger.sources.energy import energy as energy_of
from bench.record.manifest import Manifest
from bench.record.records import EnergyRead, Image, Sample
from bench.record.scenario import Settings
from pipelines.engines.serving import TRITON
from pipelines.preprocess.choose import FULL
from pipelines.servers.sizing import Served
from pipelines.spans import HOP, OTHER, SERVER
from pipelines.tasks.tensors import NORMALIZES
from pipelines.topologies.names import ANSWERS

SCHEMA = 3
"""Of what `bench report --format json` prints."""

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
"""The quantiles of the latency, and the part of the requests below each."""

TAIL = 0.01
"""The part of the requests, the slowest, that the tail's table is about."""


class Issue(msgspec.Struct, frozen=True):
    """Something the reader must know about a run. `invalid` means its numbers cannot be trusted."""

    code: str
    message: str
    hint: str
    invalid: bool


class StageTime(msgspec.Struct, frozen=True):
    """One stage over the measured requests, in milliseconds.

    `mean_ms` and the quantiles, with their intervals, are of the time on the critical path;
    `share` is this stage's part of the summed latency, in 0..1; `work_ms` is the mean of summed
    span durations, each divided by the images or crops that shared it. `apportioned` marks a stage
    that was not timed by itself but is a measured part of a box that was.
    """

    mean_ms: float
    p50_ms: Quantile
    p95_ms: Quantile
    p99_ms: Quantile
    share: float
    work_ms: float
    apportioned: bool


class Latency(msgspec.Struct, frozen=True):
    """End-to-end latency from due to done, in milliseconds.

    `quantiles` are those of QUANTILES, by name, with their intervals.
    """

    mean: float
    max: float
    quantiles: dict[str, Quantile]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench report --format json` prints for one run.

    `stages` and `tail_stages` (the slowest 1 % of requests, at least one) are in the order in which
    a request passes them, end with `other`, and leave out stages that took no time. The shares of
    each sum to 1. `latency_ms` and `tail_latency_ms` are None, and the stages empty, when no
    request succeeded. `errors` of the `requests` failed. Only chains have a `topology` that is not
    `fused`; `crops`, how they travel, the `workers` of each stage, the second's `batch`, and
    `broker_share`, the part of the latency spent with the broker, are None where there is no
    broker. CPU shares are of one core, the generator's of its busiest process, the others' of all
    together; None when there are no samples. `mix` is empty where all requests are of one pipeline,
    and all images of one size class and format. `users` is 0 where it is not known: of a run that
    was ingested, whose `notes` say what is not known besides. `served_by` is the name of the
    server. `level` is how far the `server` that was attached to lets us see, and `counters` what it
    counted meanwhile; None of other runs, and where it does not count. `non_inference_share` is
    None too where the server is one stage.

    Of an open loop `schedule` says when requests were due, `offered_per_s` how many were so, and
    `dropped` how many of them nobody sent; they are no `errors`. None and 0 of a closed loop, whose
    `shape` is the name of what said how many users there are, None where `users` does.

    `in_flight` is the mean number of requests between due and done, as the generator counted them;
    None of older runs, and where it is not ours. By Little's law it is the throughput times the
    mean latency, where no request failed.

    What a cause is found by: the `cores` of the machine, and the `busy_cores` among them, None
    without samples; the median `image_px`, width and height; the mean `bytes_in` that a request
    sent, and `bytes_out` that it received; the stage of the time that each of the `models`
    computes, and how it is `served`, which older runs do not know. `megapixels` is the mean of the
    images that were answered, None where that is not known, as `energy` is of older runs. `only`
    is the part of the pipeline that was asked for alone, else None; `decode` is how much of each
    image was decoded.
    """

    schema: int
    run: str
    valid: bool
    issues: list[Issue]
    pipeline: str
    images: str
    preprocess: str
    place: str
    transport: str
    topology: str | None
    crops: str | None
    workers: tuple[int, int] | None
    batch: int | None
    broker_share: float | None
    users: int
    duration_s: float
    machine: str
    requests: int
    errors: int
    throughput_per_s: float
    latency_ms: Latency | None
    stages: dict[str, StageTime]
    tail_requests: int
    tail_latency_ms: float | None
    tail_stages: dict[str, StageTime]
    other_share: float | None
    non_inference_share: float | None
    generator_cpu_share: float | None
    server_cpu_share: float | None
    worker_cpu_share: float | None
    broker_cpu_share: float | None
    mix: list[Group] = []
    notes: list[str] = []
    level: str | None = None
    server: str | None = None
    schedule: str | None = None
    offered_per_s: float | None = None
    dropped: int = 0
    in_flight: float | None = None
    shape: str | None = None
    counters: ModelTable | None = None
    served_by: str = TRITON
    device: str = "cpu"
    cores: int | None = None
    busy_cores: float | None = None
    image_px: tuple[int, int] | None = None
    bytes_in: float | None = None
    bytes_out: float | None = None
    models: dict[str, str] = {}
    served: dict[str, Served] = {}
    normalize: str = NORMALIZES[0]
    answers: str = ANSWERS[0]
    only: str | None = None
    decode: str = FULL
    megapixels: float | None = None
    energy: Energy | None = None


def _elsewhere(manifest: Manifest) -> Iterator[str]:
    """What is to be known of a run that other hosts took part in."""
    placed = [one for one in manifest.hosts.values() if one]
    if any(one.bound_ns for one in placed):
        most_ms = max(one.bound_ns for one in placed) / 1e6
        yield (
            f"with requests of other hosts ({len(placed)}): send and receive are exact together, "
            f"and told apart within {most_ms:.2g} ms"
        )


def summarise(
    manifest: Manifest,
    ledger: Ledger,
    *,
    errors: int,
    window_ns: tuple[int, int],
    samples: Sequence[Sample],
    issues: list[Issue],
    mix: list[Group],
    paused_ns: int = 0,
    dropped: int = 0,
    answered: int | None = None,
    in_flight: float | None = None,
    counters: ModelTable | None = None,
    images: Sequence[Image] = (),
    energy: Sequence[EnergyRead] = (),
) -> Summary:
    """Return the summary of a run from the ledger of its measured, successful requests.

    Latencies are of all of them, stages of those that were joined with the server's trace where
    any were. Throughput is of the `answered`, those that ended inside the window whenever they were
    due, of the ledger unless given; CPU shares are of the window too. The time that the load was
    paused in it, to take turns, is no part of it.
    """
    start, end = window_ns
    running_ns = max(end - start - paused_ns, 0)
    settings = manifest.settings
    level = manifest.source.level if manifest.source else None
    requests = len(ledger.due_ns) + errors + dropped
    told = ledger.told()
    slow = _tail(told)
    inside = ended(ledger, window_ns) if answered is None else answered
    copied = ["pipeline", "images", "preprocess", "place", "transport", "topology", "users"]
    copied += ["served_by", "device", "only", "normalize", "answers", "decode"]
    same: dict[str, Any] = {name: getattr(settings, name) for name in copied}
    for name in ("crops", "workers", "batch"):
        same[name] = getattr(settings, name) if settings.brokered else None
    quota = manifest.machine.get("cpu_quota_cores") is not None
    same |= cpu_shares(samples, window_ns=window_ns, running_ns=running_ns, quota=quota)
    same |= _scene(manifest, ledger)
    throughput = inside / (running_ns / 1e9) if running_ns else 0.0
    same["energy"] = energy_of(
        energy,
        window_ns=window_ns,
        paused=paused_ns > 0,
        throughput_per_s=throughput,
        on=settings.device,
    )
    return Summary(
        schema=SCHEMA,
        run=manifest.run,
        valid=not any(issue.invalid for issue in issues),
        issues=issues,
        broker_share=share(told, *HOP) if settings.brokered else None,
        duration_s=running_ns / 1e9,
        machine=describe(manifest),
        requests=requests,
        errors=errors,
        schedule=schedule(settings),
        offered_per_s=requests / (running_ns / 1e9) if settings.open and running_ns else None,
        dropped=dropped,
        in_flight=in_flight,
        shape=manifest.shape,
        throughput_per_s=throughput,
        megapixels=_megapixels(ledger, images),
        latency_ms=latency(ledger),
        stages=stage_times(told),
        tail_requests=len(slow.due_ns),
        tail_latency_ms=float(slow.latency_ns.mean()) / 1e6 if len(slow.due_ns) else None,
        tail_stages=stage_times(slow),
        other_share=share(told, OTHER),
        non_inference_share=_tax(told),
        mix=mix,
        notes=[*(manifest.source.notes if manifest.source else []), *_elsewhere(manifest)],
        level=level,
        server=settings.server if level else None,
        counters=counters,
        **same,
    )


def ended(ledger: Ledger, window_ns: tuple[int, int]) -> int:
    """Return how many of the requests ended inside the window."""
    return int(((ledger.end_ns >= window_ns[0]) & (ledger.end_ns < window_ns[1])).sum())


def _scene(manifest: Manifest, ledger: Ledger) -> dict[str, Any]:
    """What the run was made on and with, as far as it was recorded."""
    cores, sizes = manifest.machine.get("cores"), manifest.image_sizes
    sides = tuple(sizes.get(side) for side in ("width", "height"))
    means: list[float | None] = [None, None]
    if ledger.sizes is not None and len(ledger.sizes):
        means = [float(ledger.sizes[:, side].mean()) for side in (0, 1)]
    return {
        "cores": cores if isinstance(cores, int) and cores > 0 else None,
        "image_px": sides if all(isinstance(side, int) for side in sides) else None,
        "bytes_in": means[0],
        "bytes_out": means[1],
        "models": manifest.stages,
        "served": manifest.served,
    }


def _megapixels(ledger: Ledger, images: Sequence[Image]) -> float | None:
    """The mean of the images that were asked about, as often as each was."""
    known = ledger.image[ledger.image >= 0]
    if not images or not len(known):
        return None
    pixels = np.array([image.width * image.height for image in images], np.float64)
    return float(pixels[known].mean()) / 1e6


def schedule(settings: Settings) -> str | None:
    """Say when the requests of an open loop are due, None of a closed one."""
    if settings.rate is not None:
        return f"{settings.rate} {settings.arrivals}"
    if settings.replay is not None:
        return f"as in {settings.replay}"
    return None if settings.cameras is None else f"frames of {settings.cameras} a second"


def describe(manifest: Manifest) -> str:
    """Return the machine in a few words."""
    machine = manifest.machine
    if not machine:
        return "unknown machine"
    memory = machine.get("memory_bytes")
    size = f", {memory / 2**30:.0f} GiB" if isinstance(memory, int) else ""
    return f"{machine.get('cpu_model', 'unknown processor')}, {machine.get('cores')} cores{size}"


def latency(ledger: Ledger) -> Latency | None:
    """Return the distribution of the latency, None of no requests."""
    if not len(ledger.due_ns):
        return None
    values = np.sort(ledger.latency_ns / 1e6)
    told = {name: quantile(values, part) for name, part in QUANTILES.items()}
    return Latency(float(values.mean()), float(values[-1]), told)


def share(ledger: Ledger, *stages: str) -> float | None:
    """Return the part of the summed latency that the stages have together, None of no requests."""
    total = int(ledger.latency_ns.sum())
    return int(ledger.time_of(*stages).sum()) / total if total else None


def _tax(ledger: Ledger) -> float | None:
    """The part that is not inference, None where a server is one stage that inference is in."""
    if share(ledger, SERVER):
        return None
    return share(ledger, *(name for name in COLUMNS if name != "inference"))


def stage_times(ledger: Ledger) -> dict[str, StageTime]:
    """Return every stage that took time, and `other`; empty of no requests."""
    if not len(ledger.due_ns):
        return {}
    found = {}
    for name in COLUMNS:
        values = ledger.time_of(name) / 1e6
        if name == OTHER or values.any():
            ordered = np.sort(values)
            found[name] = StageTime(
                mean_ms=float(values.mean()),
                p50_ms=quantile(ordered, 0.5),
                p95_ms=quantile(ordered, 0.95),
                p99_ms=quantile(ordered, 0.99),
                share=share(ledger, name) or 0.0,
                work_ms=float(ledger.works[:, INDEX[name]].mean()) / 1e6,
                apportioned=name in ledger.apportioned,
            )
    return found


def _tail(ledger: Ledger) -> Ledger:
    count = max(1, round(TAIL * len(ledger.due_ns)))
    return ledger.select(np.sort(np.argsort(ledger.latency_ns, kind="stable")[-count:]))
