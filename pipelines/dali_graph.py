"""The DALI graph of `pipelines.preprocess`: built for the client, serialized for the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, math, pipeline_def, types
from nvidia.dali.backend import TensorListCPU
from nvidia.dali.pipeline import Pipeline

from pipelines.errors import ImageError
from pipelines.inputs import ModelInput

INPUT = "jpeg"
STEPS = ("decode", "resize", "normalize")
"""The outputs of the graph's steps."""

SERVED = ("normalize", "size")
ALL = ("normalize", "size", "decode")
"""The DNN's tensor; the upright image's height and width, INT64; its pixels."""


@pipeline_def(exec_async=False, exec_pipelined=False, prefetch_queue_depth=1)
def _graph(model_input: ModelInput, outputs: Sequence[str]) -> Any:
    data = fn.external_source(name=INPUT, dtype=types.UINT8, ndim=1, device="cpu")
    image = fn.decoders.image(data, device="cpu", output_type=types.RGB)
    made = {"decode": image, "size": fn.slice(image.shape(dtype=types.INT64), 0, 2, axes=[0])}
    if {"resize", "normalize"} & set(outputs):
        made["resize"] = _resized(image, model_input)
        made["normalize"] = fn.crop_mirror_normalize(
            made["resize"],
            dtype=types.FLOAT,
            output_layout="CHW",
            mean=[255 * m for m in model_input.mean],
            std=[255 * s for s in model_input.deviation],
            crop=(model_input.height, model_input.width),
            crop_pos_x=0.0,
            crop_pos_y=0.0,
            out_of_bounds_policy="pad",
            fill_values=0.0,
        )
    return tuple(made[name] for name in outputs)


def _resized(image: Any, model_input: ModelInput) -> Any:
    """The same box and size as `ModelInput.place`."""
    shape = image.shape(dtype=types.INT32)
    height, width = shape[0], shape[1]
    to_height, to_width = model_input.height, model_input.width
    if model_input.fit == "centre":
        side = math.max(1, math.min(height, width) * 7 // 8)
        top, left = (height - side) // 2, (width - side) // 2
        start, end = (top, left), (top + side, left + side)
        size = [to_height, to_width]
    else:
        start, end = (height * 0, width * 0), (height, width)
        size = [to_height, to_width]
        if model_input.fit == "letterbox":
            fitted = (2 * height * to_width + width) // (2 * width)
            fitted_width = (2 * width * to_height + height) // (2 * height)
            size = fn.stack(math.clamp(fitted, 1, to_height), math.clamp(fitted_width, 1, to_width))
            size = fn.cast(size, dtype=types.FLOAT)
    return fn.resize(
        image,
        size=size,
        roi_start=fn.cast(fn.stack(*start), dtype=types.FLOAT),
        roi_end=fn.cast(fn.stack(*end), dtype=types.FLOAT),
        interp_type=types.INTERP_LINEAR,
        antialias=True,
    )


def _pipeline(
    model_input: ModelInput, *, outputs: Sequence[str], batch_size: int, threads: int
) -> Pipeline:
    graph: Pipeline = _graph(
        model_input, outputs, batch_size=batch_size, num_threads=threads, device_id=None
    )
    return graph


class Graph:
    """A built CPU graph that outlives bad images.

    DALI gives a pipeline up for good after its first error, so that each further image would fail
    too: this one is then made anew, which takes some 10 ms.
    """

    def __init__(self, make: Callable[[], Pipeline]) -> None:
        self._make = make
        self._pipeline = make()

    def execute(self, images: Sequence[bytes]) -> Sequence[TensorListCPU]:
        """Run the graph and leave its outputs where DALI put them. Raises ImageError like `run`."""
        try:
            self._pipeline.feed_input(INPUT, [np.frombuffer(image, np.uint8) for image in images])
            outputs: Sequence[TensorListCPU] = self._pipeline.run()
        except RuntimeError as error:
            self._pipeline = self._make()
            raise ImageError(f"DALI cannot decode the JPEG: {_cause(str(error))}") from error
        return outputs


def build(
    model_input: ModelInput, *, outputs: Sequence[str] = SERVED, batch_size: int, threads: int
) -> Graph:
    """Return a CPU graph with these outputs, in this order."""

    def make() -> Pipeline:
        pipeline = _pipeline(model_input, outputs=outputs, batch_size=batch_size, threads=threads)
        pipeline.build()
        return pipeline

    return Graph(make)


def serialize(path: Path, model_input: ModelInput) -> None:
    """Write the graph with the outputs SERVED in the form that Triton's dali backend loads."""
    graph = _pipeline(model_input, outputs=SERVED, batch_size=8, threads=1)
    graph.serialize(filename=str(path))


def load(path: Path, *, batch_size: int, threads: int) -> Graph:
    """Return the CPU graph that `serialize` wrote. The file is read once, now."""
    serialized = Path(path).read_bytes()

    def make() -> Pipeline:
        return Pipeline.deserialize(
            serialized,
            batch_size=batch_size,
            num_threads=threads,
            device_id=None,
            exec_async=False,
            exec_pipelined=False,
            prefetch_queue_depth=1,
        )

    return Graph(make)


def run(graph: Graph, images: Sequence[bytes]) -> list[list[npt.NDArray[Any]]]:
    """Return the graph's outputs for each of at most `batch_size` JPEGs.

    Raises ImageError when one of them cannot be decoded; the graph stays usable.
    """
    outputs = graph.execute(images)
    return [[np.array(output.at(i)) for output in outputs] for i in range(len(images))]


def _cause(text: str) -> str:
    """The telling line of DALI's many-line error."""
    lines = [line.strip() for line in text.split("encountered:")[-1].splitlines()]
    telling = next((line for line in lines if line), "unknown error")
    if telling.startswith("Failed to decode"):
        return "it is corrupt or of an unknown kind"
    return telling[:200]
