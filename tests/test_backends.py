"""The embedded server's drop-in backends compute what the libraries themselves compute."""

from __future__ import annotations

import numpy as np
import onnxruntime
from jpegs import GOOD, ODD

from pipelines import dali_graph, server
from pipelines.engine import TensorSpec
from pipelines.triton_http import HttpEngine

TENSORS = np.random.default_rng(1).normal(size=(5, 3, 224, 224)).astype(np.float32)


def infer(triton: server.Server, model: str, inputs: dict[str, np.ndarray], output: str) -> object:
    engine = HttpEngine(triton.url)
    spec = TensorSpec(output, np.float32, ())
    try:
        return engine.infer(model, inputs, outputs=[spec], request_id="b").outputs[output]
    finally:
        engine.close()


def test_onnxruntime_gives_what_the_session_gives(triton: server.Server) -> None:
    session = onnxruntime.InferenceSession(server.REPOSITORY / "mobilenetv2" / "1" / "model.onnx")
    for tensors in (TENSORS[:1], TENSORS):
        (expected,) = session.run(["logits"], {"input": tensors})
        served = infer(triton, "mobilenetv2", {"input": tensors}, "logits")
        np.testing.assert_allclose(served, expected, rtol=1e-3, atol=1e-3)


def test_dali_gives_what_the_graph_gives(triton: server.Server) -> None:
    path = server.REPOSITORY / "preprocess_classification_dali" / "1" / "model.dali"
    graph = dali_graph.load(path, batch_size=1, threads=1)
    for image in (GOOD, ODD["grayscale"], ODD["progressive"]):
        ((expected, _),) = dali_graph.run(graph, [image])
        served = infer(
            triton,
            "preprocess_classification_dali",
            {"jpeg": np.frombuffer(image, np.uint8)[None]},
            "tensor",
        )
        np.testing.assert_array_equal(served, expected[None])
