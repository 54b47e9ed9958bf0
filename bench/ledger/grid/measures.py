"""What a study can show of a run: one table of measures, each a number of its summary."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.ledger.quantiles import Quantile
from bench.ledger.summary import Latency, Summary
from bench.ledger.units import ABSENT
from pipelines.errors import VisiontaxError
from pipelines.spans import OTHER, STAGES

Shown = float | Quantile | None


@dataclass(frozen=True)
class Measure:
    """A number `of` a run, None where it has none. `head` is that of a column, `said` a sentence
    with a place for the number. A `quantile` is shown with its interval, and `absent` where a run
    has no number.
    """

    name: str
    title: str
    unit: str
    head: str
    said: str
    of: Callable[[Summary], Shown]
    quantile: bool = False
    note: str = ""
    absent: str = ABSENT


def _latency(of: Callable[[Latency], Shown]) -> Callable[[Summary], Shown]:
    return lambda run: of(run.latency_ms) if run.latency_ms else None


def _percent(of: Callable[[Summary], float | None]) -> Callable[[Summary], Shown]:
    return lambda run: None if (share := of(run)) is None else 100 * share


def _answered(of: Callable[[Summary], float | None]) -> Callable[[Summary], float | None]:
    return lambda run: of(run) if run.latency_ms else None


def _quantile(name: str) -> Measure:
    return Measure(
        name,
        f"Latency, {name}",
        "ms",
        f"{name} ms",
        f"{{}} ms is the {name} of the latency",
        _latency(lambda latency: latency.quantiles.get(name)),
        quantile=True,
    )


NO_COUNTER = "no counter"
"""What a run has where nothing counts what it uses: nobody knows, and it is not 0."""

_OF = "% of the latency"
_MEASURES = (
    Measure(
        "throughput",
        "Throughput",
        "images/s",
        "images/s",
        "{} images/s come through",
        lambda run: run.throughput_per_s,
    ),
    Measure(
        "mean",
        "Mean latency",
        "ms",
        "mean ms",
        "A request takes {} ms",
        _latency(lambda latency: latency.mean),
    ),
    *map(_quantile, ("p50", "p95", "p99", "p99.9")),
    Measure(
        "not-inference",
        "Not inference",
        _OF,
        "not inf. %",
        "{} % of the time a request takes is not inference",
        _percent(_answered(lambda run: run.non_inference_share)),
    ),
    Measure(
        "broker",
        "Publish, broker and consume",
        _OF,
        "broker %",
        "{} % of the time a request takes is in the broker, or waiting there for a worker",
        _percent(lambda run: run.broker_share),
        note="what waits in the broker also waits for a worker that is busy with another request",
    ),
    Measure(
        "generator-cpu",
        "CPU of the load's busiest process",
        "% of a core",
        "gen. CPU %",
        "The load takes {} % of a core",
        _percent(lambda run: run.generator_cpu_share),
    ),
    Measure(
        "server-cpu",
        "CPU of the server",
        "% of a core",
        "server CPU %",
        "The server takes {} % of a core",
        _percent(lambda run: run.server_cpu_share),
    ),
    Measure(
        "megapixels",
        "Size of the images",
        "megapixels",
        "Mpx",
        "An image has {} megapixels",
        lambda run: run.megapixels,
    ),
    Measure(
        "energy",
        "Energy an image",
        "J",
        "J/image",
        "{} J are used for an image",
        lambda run: run.energy.joules_per_image if run.energy else None,
        note="J/image: all that processors, and the GPUs in use, took while it was measured: idle, "
        "for the load and for other programs too",
        absent=NO_COUNTER,
    ),
    Measure(
        "power",
        "Power",
        "W",
        "W",
        "{} W are used",
        lambda run: sum(run.energy.watts.values()) if run.energy and run.energy.watts else None,
        absent=NO_COUNTER,
    ),
)
KNOWN = {measure.name: measure for measure in _MEASURES}
"""By name; and `stage.NAME` is the mean time of a stage."""


def measure(name: str) -> Measure:
    """Return the measure of that name. Raises VisiontaxError when there is none."""
    stage = name.removeprefix("stage.")
    if name in KNOWN:
        return KNOWN[name]
    if stage == name or stage not in (*STAGES, OTHER):
        raise VisiontaxError(
            f"there is no measure {name!r}",
            hint=f"known: {', '.join(KNOWN)}, and stage.NAME of {', '.join([*STAGES, OTHER])}",
        )
    return Measure(
        name,
        f"Mean time of {stage}",
        "ms",
        f"{stage} ms",
        f"{{}} ms of a request is {stage}",
        lambda run: run.stages[stage].mean_ms if stage in run.stages else None,
    )
