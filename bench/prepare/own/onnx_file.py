"""A model in ONNX: what its file states, and what it does when it is run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from bench.prepare.own.stated import Hints, Seen
from pipelines.errors import VisiontaxError
from pipelines.tasks import Dnn
from pipelines.tasks.tensors import TYPES, Tensors

_NORMALIZES = {"Sub", "Div", "Mul", "BatchNormalization", "Cast", "Transpose", "Identity"}
"""Operators with which a graph that normalizes pixels begins; one of the first four is needed."""

_DEPENDS = {"NonMaxSuppression", "NonZero", "Unique", "Compress", "TopK", "Loop", "Scan"}
"""Operators whose results may be of any size."""

_NAMES = {np.dtype(dtype): name for name, dtype in TYPES.items()}
_SEED = 1
_CLOSE = 1e-3


class OnnxFile:
    """An ONNX file that onnxruntime can run."""

    def __init__(self, path: Path) -> None:
        """Raises VisiontaxError when there is none, or it is damaged, lacks weights of its own
        files, or has operators that onnxruntime does not know.
        """
        self.path = path
        try:
            self.model = onnx.load(path, load_external_data=False)
        except (OSError, DecodeError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else "it is damaged or no ONNX"
            raise VisiontaxError(f"{path} cannot be read: {cause}") from error
        if not self.model.graph.node:
            raise VisiontaxError(f"{path} cannot be read: it is damaged or no ONNX")
        self.files = sorted(set(self._outside()))
        self.session = _opened(path)

    def _outside(self) -> Iterator[str]:
        """The files that keep weights, by their path beside the model."""
        for tensor in self.model.graph.initializer:
            if tensor.data_location != TensorProto.EXTERNAL:
                continue
            name = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
            inside = self.path.parent.resolve()
            where = (inside / name).resolve()
            if not name or not where.is_relative_to(inside):
                raise VisiontaxError(f"{self.path} keeps weights outside of its folder: {name!r}")
            if not where.is_file():
                raise VisiontaxError(
                    f"{self.path} keeps weights in {name}, which is not beside it",
                    hint=f"put {name} into {self.path.parent}",
                )
            yield name

    @property
    def inputs(self) -> list[Seen]:
        """What it takes; weights that old files state among the inputs are none."""
        weights = {tensor.name for tensor in self.model.graph.initializer}
        return [_seen(each) for each in self.model.graph.input if each.name not in weights]

    @property
    def outputs(self) -> list[Seen]:
        """What it gives."""
        return [_seen(each) for each in self.model.graph.output]

    @property
    def hints(self) -> Hints:
        """What its graph tells beyond that."""
        graph = self.model.graph
        made_by = {name: node for node in graph.node for name in node.output}
        taken_by = {name: node for node in reversed(graph.node) for name in node.input}
        name, seen = self.inputs[0].name if self.inputs else "", []
        while (node := taken_by.get(name)) and node.op_type in _NORMALIZES:
            seen.append(node.op_type)
            name = node.output[0]
        last = made_by.get(graph.output[0].name) if graph.output else None
        normalizes = bool({*seen} & {"Sub", "Div", "BatchNormalization"})
        return Hints(normalizes, last.op_type if last else "")

    def with_sizes(self, dnn: Dnn, outputs: list[Seen]) -> list[Seen]:
        """Return the outputs with the sizes that follow from those of the inputs, as it has them
        when it is run; where they may depend on what the image shows they stay open.
        """
        if any(node.op_type in _DEPENDS for node in _nodes(self.model.graph)):
            return outputs
        found = self.run(dnn.feed(noise(dnn, count=1)), dnn)
        return [
            each._replace(shape=_filled(each.shape, found[each.name].shape)) for each in outputs
        ]

    def run(self, inputs: Tensors, dnn: Dnn) -> Tensors:
        """Return the DNN's outputs. Raises VisiontaxError in onnxruntime's words."""
        names = [spec.name for spec in dnn.outputs]
        try:
            return dict(zip(names, self.session.run(names, inputs), strict=True))
        except Exception as error:  # onnxruntime's own have no common base
            given = ", ".join(f"{name} {list(one.shape)}" for name, one in inputs.items())
            raise VisiontaxError(
                f"onnxruntime cannot run it with {given}: {_cause(error)}",
                hint="say what it takes: --size WIDTHxHEIGHT, --layout, --constant, --batch 0",
            ) from error

    def batches(self, dnn: Dnn) -> bool:
        """Whether it answers two images together as it does one by one."""
        images = noise(dnn, count=2)
        try:
            together = self.run(dnn.feed(images), dnn)
            apart = [self.run(dnn.feed(image[None]), dnn) for image in images]
        except VisiontaxError:
            return False
        return all(
            value.shape[:1] == (2,)
            and value[number].shape == one[name][0].shape
            and alike(value[number], one[name][0])
            for name, value in together.items()
            for number, one in enumerate(apart)
        )


def noise(dnn: Dnn, *, count: int) -> Any:
    """Return images of noise as the DNN takes them, [count, *shape]."""
    pixels = np.random.default_rng(_SEED)
    shape = (count, dnn.input.height, dnn.input.width, 3)
    return np.stack([dnn.input.normalize(one) for one in pixels.integers(0, 256, shape, np.uint8)])


def alike(one: Any, other: Any) -> bool:
    """Whether two answers of one DNN are the same, but for the order in which it added."""
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.mean(one != other) <= _CLOSE)
    finite = np.abs(other[np.isfinite(other)]).astype(np.float64)
    largest = float(finite.max(initial=0))
    close = np.isclose(one, other, rtol=_CLOSE, atol=_CLOSE * largest, equal_nan=True)
    return bool(close.all())


def _opened(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own have no common base
        raise VisiontaxError(
            f"onnxruntime does not open {path}: {_cause(error)}",
            hint="a model with operators of its own needs its own backend: --triton-model",
        ) from error


def _cause(error: Exception) -> str:
    said = str(error).partition(" : ")[2] or str(error)
    return " ".join(said.rpartition("FAIL : ")[2].split())[:300]


def _seen(tensor: Any) -> Seen:
    kind = tensor.type.tensor_type
    shape = tuple(
        side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else -1
        for side in kind.shape.dim
    )
    if kind.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return Seen(tensor.name, "bytes", shape)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return Seen(tensor.name, _NAMES.get(np.dtype(dtype), str(dtype)), shape)


def _nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph, and those of the graphs in them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _filled(stated: tuple[int, ...], had: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes as they were, but for the batch, which stays as it was stated."""
    return (*stated[:1], *had[1:]) if len(stated) == len(had) else had
