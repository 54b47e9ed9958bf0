"""Networks as their packages ship them in ONNX, made to take any number of RGB images.

CenterFace's file states a batch of ten 32x32 images, and lists its 194 weights as inputs that a
caller may replace: this keeps onnxruntime from fusing them with what follows, and more than doubles
the time. PP-OCRv4's two networks were trained on BGR. The detector's was normalised by ImageNet's
mean and deviation as they are written, so that blue got those of red (PaddleOCR's
PP-OCRv4_mobile_det.yml); the reader's by 0.5.
"""

from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from bench.prepare.dnns.onnx_graph import INPUT, load, rename, seal
from pipelines.errors import SourceError
from pipelines.tasks import Dnn
from pipelines.tasks.tensors import IMAGENET_DEVIATION, IMAGENET_MEAN

_HALVES = (0.5, 0.5, 0.5)


def build_face_detector(data: bytes, dnn: Dnn) -> bytes:
    """Return CenterFace; `data` is its ONNX file."""
    return _seal_outputs(load(data), dnn)


def build_detector(data: bytes, dnn: Dnn) -> bytes:
    """Return the detector of lines of text; `data` is its ONNX file."""
    model = load(data)
    _take_rgb(model, dnn, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
    return _seal_outputs(model, dnn)


def build_reader(data: bytes, dnn: Dnn) -> bytes:
    """Return the reader of a line; `data` is its ONNX file.

    Of the probabilities [N,steps,classes] only each step's likeliest class and its probability
    leave the network: all of them are a megabyte for each line.
    """
    model = load(data)
    _take_rgb(model, dnn, mean=_HALVES, deviation=_HALVES)
    probabilities = [model.graph.output[0].name]
    symbols, confidences = (each.name for each in dnn.outputs)
    model.graph.node.extend(
        [
            helper.make_node("ArgMax", probabilities, [symbols], axis=2, keepdims=0),
            helper.make_node("ReduceMax", probabilities, [confidences], axes=[2], keepdims=0),
        ]
    )
    return seal(model, dnn)


def list_characters(data: bytes, dnn: Dnn) -> bytes:
    """Return the reader's characters, UTF-8, one a line: the first is symbol 1, the last a space.

    Symbol 0 is CTC's blank. `data` is the reader's ONNX file. Raises SourceError when they are not
    as many as its classes.
    """
    del dnn
    model = load(data)
    known = {each.key: each.value for each in model.metadata_props}.get("character", "")
    lines = [*known.splitlines(), " "]
    classes = model.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    if len(lines) + 1 != classes:
        raise SourceError(
            f"the reader of text tells {classes} classes apart, but names {len(lines)} characters",
            hint="pin another version of its package in bench/prepare/pins.toml",
        )
    return "".join(f"{line}\n" for line in lines).encode()


def _seal_outputs(model: Any, dnn: Dnn) -> bytes:
    outputs = zip(model.graph.output, dnn.outputs, strict=True)
    rename(model, {shipped.name: own.name for shipped, own in outputs})
    return seal(model, dnn)


def _take_rgb(
    model: Any, dnn: Dnn, *, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> None:
    """Have the model take the DNN's input in place of BGR normalised by `mean` and `deviation`.

    Both are folded into the first convolution. What that pads with is then the grey of the DNN's
    mean, not of theirs: the one difference, which is felt a little at the edges of letters.
    """
    (first,) = [node for node in model.graph.node if INPUT in node.input]
    (stored,) = [node for node in model.graph.node if first.input[1] in node.output]
    kernel = numpy_helper.to_array(stored.attribute[0].t)[:, ::-1].astype(np.float64)
    # A channel of theirs is (v - mean) / deviation, and v is x * our deviation + our mean.
    own_mean, own_deviation = np.array(dnn.input.mean), np.array(dnn.input.deviation)
    factor = own_deviation / np.array(deviation)[::-1]
    offset = (own_mean - np.array(mean)[::-1]) / np.array(deviation)[::-1]
    bias = (kernel * offset.reshape(1, 3, 1, 1)).sum((1, 2, 3))
    folded = {f"{INPUT}.kernel": kernel * factor.reshape(1, 3, 1, 1), f"{INPUT}.bias": bias}
    for name, value in folded.items():
        constant = numpy_helper.from_array(value.astype(np.float32), name)
        model.graph.initializer.append(constant)
    model.graph.node.remove(stored)
    first.input[1:] = list(folded)
