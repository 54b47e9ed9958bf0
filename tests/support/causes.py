"""Runs with one planted cause each, and one in which there is none: made-up summaries."""

from typing import Any

from summaries import stage_times, summary

from bench.ledger.summary import Summary
from pipelines.servers.sizing import Served

STEPS = {"mobilenetv2": "inference", "preprocess_classification_opencv": "preprocess"}
MIX = {
    "schedule": 0.1,
    "encode": 0.2,
    "send": 0.6,
    "queue": 0.6,
    "input": 0.3,
    "decode": 1.0,
    "resize": 0.6,
    "normalize": 0.2,
    "inference": 6.0,
    "output": 0.4,
    "postprocess": 0.3,
    "receive": 0.4,
    "parse": 0.1,
    "other": 0.1,
}
"""Milliseconds of each stage where no cause explains much."""

CHAIN = {"pipeline": "faces", "topology": "redis-streams", "crops": "raw", "workers": (1, 2)}


def served(*, instances: int = 8, threads: int = 1, gpu: bool = False) -> dict[str, Served]:
    """The DNN as told, and preprocessing on every core."""
    dnn, preprocess = STEPS
    return {dnn: Served(instances, threads, gpu), preprocess: Served(8)}


def run(stages: dict[str, float] | None = None, /, **changes: Any) -> Summary:
    """A run of four users on eight cores whose stages take MIX, but for these milliseconds."""
    usual = {
        "pipeline": "classification",
        "place": "server",
        "transport": "http",
        "images": "small",
        "cores": 8,
        "busy_cores": 4.0,
        "server_cpu_share": 3.5,
        "generator_cpu_share": 0.3,
        "image_px": (300, 225),
        "bytes_in": 19e3,
        "bytes_out": 4e3,
        "models": STEPS,
        "served": served(),
        "throughput_per_s": 300.0,
        "users": 4,
    }
    return summary(MIX | (stages or {}), **(usual | changes))


def broken() -> Summary:
    """A chain whose messages wait in the broker."""
    stages = MIX | {"publish": 2.0, "broker": 9.0, "consume": 1.0}
    share = sum(stage_times(stages)[name].share for name in ("publish", "broker", "consume"))
    return run(stages, **CHAIN, batch=8, broker_share=share)


PLANTED = {
    "PREPROCESSING": run({"decode": 20.0}, images="large", image_px=(3564, 2880)),
    "QUEUE": run({"queue": 20.0}, busy_cores=7.9, server_cpu_share=7.0, users=32),
    "OVERSUBSCRIBED": run(
        {"queue": 9.0, "inference": 40.0},
        server_cpu_share=7.6,
        busy_cores=8.0,
        served=served(threads=8),
    ),
    "TRANSPORT": run({"send": 9.0, "receive": 2.0}, place="client", bytes_in=602_112.0),
    "ENSEMBLE_TENSORS": run({"input": 6.0, "output": 5.0}),
    "IDLE_CORES": run({"queue": 20.0}, throughput_per_s=135.0, served=served(instances=1)),
    "POSTPROCESSING": run({"postprocess": 15.0}, pipeline="segmentation", bytes_out=16e6),
    "CLIENT": run({"schedule": 0.8, "encode": 4.0, "parse": 5.0}, generator_cpu_share=0.99),
    "BROKER": broken(),
    "INFERENCE": run({"inference": 60.0}),
}
"""By the code of its cause."""
