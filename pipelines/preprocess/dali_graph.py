"""NVIDIA DALI: the graph that the client builds and runs, and that is serialized for the server.

Whoever asks runs it on the CPU; the server also serves it with everything behind the JPEG on a GPU.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, math, pipeline_def, types
from nvidia.dali.backend import TensorListCPU, TensorListGPU
from nvidia.dali.pipeline import Pipeline

from pipelines.errors import ImageError, ServerError
from pipelines.preprocess import formats
from pipelines.preprocess.ways import Preprocessed, Preprocessor
from pipelines.spans import Span
from pipelines.tasks import Dnn
from pipelines.tasks.description import Constant
from pipelines.tasks.tensors import ModelInput, Pixels

INPUT = "jpeg"
STEPS = ("decode", "resize", "normalize")
"""The outputs of the graph's steps."""

SERVED = ("normalize", "size")
ALL = ("normalize", "size", "decode")
"""The DNN's tensor; the upright image's height and width, INT64, on the CPU; its pixels."""

Kind = Literal["cpu", "gpu"]
"""Where the graph decodes and what follows; all but the size is then there."""

_AT_ONCE: dict[str, Any] = {
    "exec_async": False,
    "exec_pipelined": False,
    "prefetch_queue_depth": 1,
}


@pipeline_def(**_AT_ONCE)
def graph(
    model_input: ModelInput,
    outputs: Sequence[str],
    kind: Kind,
    constants: Sequence[Constant] = (),
) -> Any:
    """Return the outputs, and then the constants, in this order; DALI's decorator makes a pipeline
    of it.
    """
    data = fn.external_source(name=INPUT, dtype=types.UINT8, ndim=1, device="cpu")
    decoder = {"cpu": "cpu", "gpu": "mixed"}[kind]
    image = fn.decoders.image(data, device=decoder, output_type=types.RGB)
    # Not every executor hands what was made on the GPU back to the CPU; the JPEG's header is there.
    shape: Any = image.shape if kind == "cpu" else partial(fn.peek_image_shape, data)
    made = {"decode": image, "size": fn.slice(shape(dtype=types.INT64), 0, 2, axes=[0])}
    if {"resize", "normalize"} & set(outputs):
        made["resize"] = _resized(image, shape(dtype=types.INT32), model_input)
        made["normalize"] = _normalized(made["resize"], model_input)
    extras = (types.Constant(each.array(), device="cpu") for each in constants)
    return (*(made[name] for name in outputs), *extras)


_DTYPES = {"fp32": types.FLOAT, "fp16": types.FLOAT16, "uint8": types.UINT8}
_COLOURS = {"RGB": types.RGB, "BGR": types.BGR, "GRAY": types.GRAY}


def _normalized(pixels: Any, model_input: ModelInput) -> Any:
    """The same numbers as `ModelInput.normalize`."""
    if model_input.colour != "RGB":
        to = _COLOURS[model_input.colour]
        pixels = fn.color_space_conversion(pixels, image_type=types.RGB, output_type=to)
    part = 255 / model_input.range
    scaled: dict[str, Any] = {}
    if model_input.type != "uint8":
        scaled["mean"] = [part * m for m in model_input.mean]
        scaled["std"] = [part * s for s in model_input.deviation]
    return fn.crop_mirror_normalize(
        pixels,
        dtype=_DTYPES[model_input.type],
        output_layout=model_input.layout.removeprefix("N"),
        crop=(model_input.height, model_input.width),
        crop_pos_x=0.0,
        crop_pos_y=0.0,
        out_of_bounds_policy="pad",
        fill_values=model_input.fill or 0.0,
        **scaled,
    )


def _resized(image: Any, shape: Any, model_input: ModelInput) -> Any:
    """The same box and size as `ModelInput.place`."""
    height, width = shape[0], shape[1]
    to_height, to_width = model_input.height, model_input.width
    size: Any = [to_height, to_width]
    start, end = (height * 0, width * 0), (height, width)
    if model_input.fit == "centre":
        side = math.max(1, math.min(height, width) * 7 // 8)
        top, left = (height - side) // 2, (width - side) // 2
        start, end = (top, left), (top + side, left + side)
    elif model_input.fit == "letterbox":
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


class Graph:
    """A built graph that outlives bad images.

    DALI gives a pipeline up for good after its first error, so that each further image would fail
    too: this one is then made anew, which takes some 10 ms.
    """

    def __init__(self, make: Callable[[], Pipeline]) -> None:
        self._make = make
        self._pipeline = make()

    def execute(self, images: Sequence[bytes]) -> Sequence[TensorListCPU | TensorListGPU]:
        """Run the graph and leave its outputs where DALI put them. Raises ImageError like `run`."""
        try:
            self._pipeline.feed_input(INPUT, [np.frombuffer(image, np.uint8) for image in images])
            outputs: Sequence[TensorListCPU | TensorListGPU] = self._pipeline.run()
        except RuntimeError as error:
            self._pipeline = self._make()
            raise ImageError(f"DALI cannot decode the image: {_cause(str(error))}") from error
        return outputs


def build(model_input: ModelInput, *, outputs: Sequence[str] = SERVED) -> Graph:
    """Return a CPU graph for one image at a time, with these outputs, in this order."""

    def make() -> Pipeline:
        made = graph(model_input, outputs, "cpu", batch_size=1, num_threads=1, device_id=None)
        made.build()
        return made

    return Graph(make)


def serialize(path: Path, dnn: Dnn, *, gpu: int | None = None) -> None:
    """Write the graph with the outputs SERVED, and the constants that the DNN takes, in the form
    that Triton's dali backend loads.

    `gpu` asks for the graph of a GPU, and names the one to make it on: it then runs on any. Where
    that is not there, or without CUDA, DALI refuses: ServerError.
    """
    kind: Kind = "cpu" if gpu is None else "gpu"
    made = graph(
        *(dnn.input, SERVED, kind, dnn.constants), batch_size=8, num_threads=1, device_id=gpu
    )
    with _saying(f"DALI's graph {path} is not made", gpu):
        made.serialize(filename=str(path))


def load(path: Path, *, batch_size: int, threads: int, gpu: int | None = None) -> Graph:
    """Return the graph that `serialize` wrote, on that GPU or on the CPU. The file is read now.

    Raises ServerError when the graph does not run there.
    """
    serialized = Path(path).read_bytes()
    given = {"batch_size": batch_size, "num_threads": threads, "device_id": gpu}
    with _saying(f"DALI's graph {path} does not run", gpu):
        return Graph(lambda: Pipeline.deserialize(serialized, **given, **_AT_ONCE))


@contextlib.contextmanager
def _saying(what: str, gpu: int | None) -> Iterator[None]:
    """Turn an error of DALI into a ServerError that says what is not there, and on what."""
    try:
        yield
    except RuntimeError as error:
        where = "the CPU" if gpu is None else f"GPU {gpu}"
        raise ServerError(
            f"{what} on {where}: {_cause(str(error))}",
            hint="'bench doctor' says whether DALI reaches a GPU; a graph of one needs it",
        ) from error


def run(graph: Graph, images: Sequence[bytes]) -> list[list[npt.NDArray[Any]]]:
    """Return the graph's outputs for each of at most `batch_size` images, copied to the host.

    Raises ImageError when one of them cannot be decoded; the graph stays usable.
    """
    outputs = [output.as_cpu() for output in graph.execute(images)]
    return [[np.array(output.at(i)) for output in outputs] for i in range(len(images))]


def _cause(text: str) -> str:
    """The telling line of DALI's many-line error."""
    lines = [line.strip() for line in text.split("encountered:")[-1].splitlines()]
    telling = next((line for line in lines if line), "unknown error")
    if telling.startswith("Failed to decode"):
        return "it is corrupt or of an unknown kind"
    return telling[:200]


class Dali(Preprocessor):
    """A way to preprocess on the CPU: one graph, timed as one box."""

    def __init__(self, model_input: ModelInput, *, keep_pixels: bool) -> None:
        self._input = model_input
        self._graph = build(model_input, outputs=ALL if keep_pixels else SERVED)
        self._decoder: Graph | None = None

    def decoded(self, data: bytes) -> Pixels:
        self._decoder = self._decoder or build(self._input, outputs=("decode",))
        return cast(Pixels, run(self._decoder, [formats.admitted(data).data])[0][0])

    def __call__(self, data: bytes) -> Preprocessed:
        start = time.monotonic_ns()
        tensor, size, *kept = run(self._graph, [formats.admitted(data).data])[0]
        height, width = map(int, size)
        spans = [Span("preprocess", start, time.monotonic_ns(), "dali")]
        return Preprocessed(tensor, (width, height), kept[0] if kept else None, spans)
