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

INPUT = "jpeg"
STEPS = ("decode", "resize", "normalize")


@pipeline_def(exec_async=False, exec_pipelined=False, prefetch_queue_depth=1)
def _graph(*, upto: str, size: int, mean: list[float], deviation: list[float]) -> Any:
    data = fn.external_source(name=INPUT, dtype=types.UINT8, ndim=1, device="cpu")
    image = fn.decoders.image(data, device="cpu", output_type=types.RGB)
    if upto == "decode":
        return image
    shape = image.shape(dtype=types.INT32)
    side = math.max(1, math.min(shape[0], shape[1]) * 7 // 8)
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    square = fn.resize(
        image,
        size=[size, size],
        roi_start=fn.cast(fn.stack(top, left), dtype=types.FLOAT),
        roi_end=fn.cast(fn.stack(top + side, left + side), dtype=types.FLOAT),
        interp_type=types.INTERP_LINEAR,
        antialias=True,
    )
    if upto == "resize":
        return square
    return fn.crop_mirror_normalize(
        square,
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=[255 * m for m in mean],
        std=[255 * s for s in deviation],
    )


def _pipeline(*, batch_size: int, threads: int, upto: str = "normalize") -> Pipeline:
    from pipelines.preprocess import DEVIATION, MEAN, SIZE

    graph: Pipeline = _graph(
        upto=upto,
        size=SIZE,
        mean=list(MEAN),
        deviation=list(DEVIATION),
        batch_size=batch_size,
        num_threads=threads,
        device_id=None,
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

    def execute(self, images: Sequence[bytes]) -> TensorListCPU:
        """Run the graph and leave its output where DALI put it. Raises ImageError like `run`."""
        try:
            self._pipeline.feed_input(INPUT, [np.frombuffer(image, np.uint8) for image in images])
            (output,) = self._pipeline.run()
        except RuntimeError as error:
            self._pipeline = self._make()
            raise ImageError(f"DALI cannot decode the JPEG: {_cause(str(error))}") from error
        done: TensorListCPU = output
        return done


def build(*, batch_size: int, threads: int, upto: str = "normalize") -> Graph:
    """Return a CPU graph that ends after the step `upto` (one of STEPS)."""

    def make() -> Pipeline:
        pipeline = _pipeline(batch_size=batch_size, threads=threads, upto=upto)
        pipeline.build()
        return pipeline

    return Graph(make)


def serialize(path: Path) -> None:
    """Write the whole graph to `path`, in the form that Triton's dali backend loads."""
    _pipeline(batch_size=8, threads=1).serialize(filename=str(path))


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


def run(graph: Graph, images: Sequence[bytes]) -> list[npt.NDArray[Any]]:
    """Return the graph's output for each of at most `batch_size` JPEGs.

    Raises ImageError when one of them cannot be decoded; the graph stays usable.
    """
    output = graph.execute(images)
    return [np.array(output.at(i)) for i in range(len(images))]


def _cause(text: str) -> str:
    """The telling line of DALI's many-line error."""
    lines = [line.strip() for line in text.split("encountered:")[-1].splitlines()]
    telling = next((line for line in lines if line), "unknown error")
    if telling.startswith("Failed to decode"):
        return "it is corrupt or of an unknown kind"
    return telling[:200]
