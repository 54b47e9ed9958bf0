"""CenterFace as its package ships it, made to take batches of any number of images.

The file states a batch of ten 32x32 images, and lists its 194 weights as inputs that a caller may
replace: this keeps onnxruntime from fusing them with what follows, and more than doubles the time.
"""

from __future__ import annotations

from bench.prepare.dnns.onnx_graph import INPUT, load, rename, seal
from pipelines.tasks import Dnn


def build(data: bytes, dnn: Dnn) -> bytes:
    """Return the detector of faces; `data` is its ONNX file, whose first input is the image."""
    model = load(data)
    graph = model.graph
    outputs = zip(graph.output, dnn.outputs, strict=True)
    names = {shipped.name: own.name for shipped, own in outputs}
    rename(model, {graph.input[0].name: INPUT, **names})
    return seal(model, dnn)
