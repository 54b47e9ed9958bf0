"""The embedded server's drop-in backends compute what the libraries themselves compute, where the
server wants it.
"""

from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
from drop_ins import drop_in, instance
from pictures import GOOD, ODD

from pipelines import paths, tasks
from pipelines.engines.triton_http import HttpEngine
from pipelines.errors import ServerError
from pipelines.preprocess import dali_graph, formats
from pipelines.servers import triton
from pipelines.tasks.tensors import TensorSpec

ONE_THREAD = {"batch_size": 1, "num_threads": 1, "device_id": None}
TENSORS = np.random.default_rng(1).normal(size=(5, 3, 224, 224)).astype(np.float32)


def infer(triton: triton.Server, model: str, inputs: dict[str, np.ndarray], output: str) -> object:
    spec = TensorSpec(output, np.float32, ())
    with closing(HttpEngine(triton.url)) as engine:
        return engine.infer(model, inputs, outputs=[spec], request_id="b").outputs[output]


def test_onnxruntime_gives_what_the_session_gives(triton: triton.Server) -> None:
    session = onnxruntime.InferenceSession(paths.REPOSITORY / "mobilenetv2" / "1" / "model.onnx")
    for tensors in (TENSORS[:1], TENSORS):
        (expected,) = session.run(["logits"], {"input": tensors})
        served = infer(triton, "mobilenetv2", {"input": tensors}, "logits")
        np.testing.assert_allclose(served, expected, rtol=1e-3, atol=1e-3)


def test_dali_gives_what_the_graph_gives(triton: triton.Server) -> None:
    path = paths.REPOSITORY / "preprocess_classification_dali" / "1" / "model.dali"
    graph = dali_graph.load(path, batch_size=1, threads=1)
    for image in (GOOD, ODD["grayscale"], ODD["progressive"]):
        ((expected, _),) = dali_graph.run(graph, [image])
        inputs = {"jpeg": np.frombuffer(image, np.uint8)[None]}
        served = infer(triton, "preprocess_classification_dali", inputs, "tensor")
        np.testing.assert_array_equal(served, expected[None])


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of a drop-in."""
    return drop_in(request.param, monkeypatch)


ON_GPU_3 = {"model_instance_kind": "GPU", "model_instance_device_id": "3"}


class Session:
    """onnxruntime with or without a CUDA that works."""

    works: ClassVar[list[str]] = ["CUDAExecutionProvider"]

    def __init__(self, path: str, options: object, *, providers: list[Any]) -> None:
        del path, options
        self.asked = providers

    def get_providers(self) -> list[str]:
        return [*self.works, "CPUExecutionProvider"]


class Broken(Session):
    works: ClassVar[list[str]] = []


@pytest.mark.parametrize("backend", ["onnxruntime"], indirect=True)
def test_a_dnn_on_a_gpu_uses_that_one(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    made = backend.TritonPythonModel()
    made.initialize(instance("mobilenetv2", **ON_GPU_3))
    assert made._network._session.asked[0] == ("CUDAExecutionProvider", {"device_id": 3})
    made.initialize(instance("mobilenetv2"))
    assert made._network._session.asked == ["CPUExecutionProvider"]


@pytest.mark.parametrize("backend", ["onnxruntime"], indirect=True)
@pytest.mark.parametrize("available", [False, True], ids=["absent", "does not work"])
def test_a_dnn_on_a_gpu_never_falls_back_to_the_cpu(
    backend: Any,
    monkeypatch: pytest.MonkeyPatch,
    available: bool,  # noqa: FBT001
) -> None:
    known = ["CUDAExecutionProvider"] * available + ["CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Broken)
    with pytest.raises(ServerError, match=r"mobilenetv2 is to run on GPU 3.*onnxruntime-gpu"):
        backend.TritonPythonModel().initialize(instance("mobilenetv2", **ON_GPU_3))


@pytest.mark.parametrize("backend", ["dali"], indirect=True)
def test_a_graph_is_loaded_where_its_instance_is(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    monkeypatch.setattr(dali_graph, "load", lambda *_, gpu, **__: asked.append(gpu))
    model = "preprocess_classification_dali"
    backend.TritonPythonModel().initialize(instance(model))
    backend.TritonPythonModel().initialize(instance(model, **ON_GPU_3))
    assert asked == [None, 3]


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the graph of a GPU decode on the CPU, whither the rest of it follows."""
    decode = dali_graph.fn.decoders.image
    monkeypatch.setattr(
        dali_graph.fn.decoders,
        "image",
        lambda data, *, device, **options: decode(data, device="cpu", **options),  # noqa: ARG005
    )


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("task", tasks.tasks(), ids=lambda task: task.name)
def test_the_graph_of_a_gpu_makes_the_same_of_upright_images(task: tasks.Task) -> None:
    expected = dali_graph.build(task.dnn.input)

    def make() -> Any:
        return dali_graph.graph(task.dnn.input, dali_graph.SERVED, "gpu", **ONE_THREAD)

    graph = dali_graph.Graph(make)
    for image in (GOOD, *ODD.values()):
        image = formats.admitted(image).data
        for one, other in zip(
            *(dali_graph.run(g, [image])[0] for g in (graph, expected)), strict=True
        ):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:.*is no longer shipped with CUDA runtime")
def test_the_graph_of_a_gpu_decodes_there_and_does_not_run_on_a_cpu(tmp_path: Path) -> None:
    path = tmp_path / "model.dali"
    made = tasks.task("depth").dnn.input, dali_graph.SERVED
    graph = dali_graph.graph(*made, "gpu", **ONE_THREAD)
    graph.serialize(filename=str(path))
    for word in (b"mixed", b"gpu", b"PeekImageShape"):
        assert word in path.read_bytes()
    with pytest.raises(ServerError, match="does not run on the CPU") as raised:
        dali_graph.load(path, batch_size=1, threads=1)
    assert "bench doctor" in raised.value.hint


def test_outputs_on_a_gpu_are_copied_to_the_host() -> None:
    graph = dali_graph.build(tasks.task("depth").dnn.input)
    (expected,) = dali_graph.run(graph, [GOOD])

    class OnGpu:
        def __init__(self, output: Any) -> None:
            self.as_cpu = lambda: output

    execute = graph.execute
    graph.execute = lambda images: [OnGpu(output) for output in execute(images)]  # type: ignore[method-assign]
    (copied,) = dali_graph.run(graph, [GOOD])
    for one, other in zip(copied, expected, strict=True):
        np.testing.assert_array_equal(one, other)
