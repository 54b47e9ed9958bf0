"""The apps beside Triton: what they take, what they answer, and what of them is left."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import psutil
import pytest
from processes import BENCH, family, refused, started, until, wait_gone
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from bench.prepare.images.sets import images_of
from bench.prepare.own.check import picture
from bench.prepare.own.onnx_file import alike
from bench.prepare.repository import models_of
from pipelines import paths, tasks
from pipelines.engines.serving import SERVERS, TITLES, TRITON
from pipelines.engines.triton_http import HttpEngine
from pipelines.errors import EngineError, ServerError, VisiontaxError
from pipelines.preprocess.choose import WAYS
from pipelines.servers import control
from pipelines.servers import triton as embedded
from pipelines.servers.apps import open_inference, start
from pipelines.servers.apps.in_process import Asked, InProcess, model_of
from pipelines.servers.apps.start import APPS, App
from pipelines.tasks.description import FILE
from pipelines.tasks.served import ensemble
from pipelines.tasks.tensors import Tensors, TensorSpec

MODEL = "classification_opencv"
EXTRAS = [TensorSpec("size", np.int64, (1, 2))]


def asked(url: str, pipeline: str, way: str, file: bytes = b"", **parameters: str) -> Tensors:
    """The DNN's outputs of a picture, and its size."""
    outputs = tasks.task(pipeline).dnn.asked(1) + EXTRAS
    image = {"jpeg": np.frombuffer(file or picture(), np.uint8)[None]}
    how = {"outputs": outputs, "request_id": "a", "parameters": parameters}
    with contextlib.closing(HttpEngine(url)) as engine:
        return engine.infer(ensemble(pipeline, way), image, **how).outputs


@pytest.mark.parametrize("pipeline", ["classification", "detection"])
@pytest.mark.parametrize("name", APPS)
def test_an_app_answers_as_triton_does(
    triton: embedded.Server, tmp_path: Path, name: str, pipeline: str
) -> None:
    control.load(triton.url, models_of([pipeline]))
    with start.start(name, pipeline, tmp_path) as app:
        app.wait_ready()
        for way in WAYS:
            ours, theirs = (asked(url, pipeline, way) for url in (app.url, triton.url))
            assert ours.keys() == theirs.keys()
            for output, value in theirs.items():
                assert alike(ours[output], value), (way, output)
        large = images_of("large").paths[0].read_bytes()
        ours, theirs = (
            asked(one.url, pipeline, "opencv", large, decode="scaled") for one in (app, triton)
        )
        for output, full in asked(triton.url, pipeline, "opencv", large).items():
            assert alike(ours[output], theirs[output]), output
            assert output == "size" or not alike(ours[output], full), output
        with contextlib.closing(HttpEngine(app.url, server=name)) as engine:
            bad = {"jpeg": np.zeros((1, 9), np.uint8)}
            with pytest.raises(EngineError, match="the image is no JPEG"):
                engine.infer(ensemble(pipeline, "opencv"), bad, outputs=EXTRAS, request_id="b")
            with pytest.raises(EngineError, match="unknown model: depth_opencv; known: "):
                engine.infer("depth_opencv", bad, outputs=EXTRAS, request_id="c")


@pytest.fixture(scope="module")
def ask() -> InProcess:
    return InProcess("classification")


def body_of(*outputs: str, jpeg: str = "jpeg", image: bytes = b"") -> tuple[bytes, int]:
    """A request as Triton's own client builds it, and how long its head is."""
    data = np.frombuffer(image or picture(), np.uint8)[None]
    given = InferInput(jpeg, list(data.shape), "UINT8").set_data_from_numpy(data)
    wanted = [InferRequestedOutput(name) for name in outputs]
    body, head_bytes = InferenceServerClient.generate_request_body(
        [given], outputs=wanted, request_id="r"
    )
    return body, int(head_bytes)


def test_tritons_own_client_reads_the_answer(ask: InProcess) -> None:
    reply = ask(Asked(MODEL, *body_of("logits", "trail"), since_ns=0))
    assert reply.status == 200
    result = InferResult.from_response_body(reply.body, header_length=reply.head_bytes)
    assert result.as_numpy("logits").shape == (1, 1000)
    assert result.as_numpy("size") is None
    assert result.get_response()["id"] == "r"
    everything = ask(Asked(MODEL, *body_of(), since_ns=0))
    result = InferResult.from_response_body(everything.body, header_length=everything.head_bytes)
    assert result.as_numpy("size").tolist() == [[480, 640]]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (body_of("masks"), f"{MODEL} has no output 'masks'"),
        (body_of(jpeg="png"), f"{MODEL} takes an image as jpeg"),
        (body_of(image=b"GIF89a"), "the image is no JPEG"),
    ],
)
def test_what_cannot_be_answered_is_refused(ask: InProcess, made: tuple, words: str) -> None:
    reply = ask(Asked(MODEL, *made, since_ns=0))
    assert (reply.status, reply.head_bytes) == (400, 0)
    assert words in json.loads(reply.body)["error"]


@pytest.mark.parametrize(
    "tensor",
    [
        {"shape": [1, 5]},
        {"shape": [-1, 4]},
        {"shape": [1 << 60, 1 << 60]},
        {"datatype": "BYTES"},
        {"datatype": "UINT9"},
        {"parameters": {}},
        {"parameters": {"binary_data_size": 3}},
    ],
)
def test_a_damaged_request_is_an_error_of_its_own(tensor: dict) -> None:
    good = {"name": "jpeg", "shape": [1, 4], "datatype": "UINT8"}
    good["parameters"] = {"binary_data_size": 4}
    head = json.dumps({"inputs": [good]}).encode()
    assert open_inference.read(head + b"1234", head_bytes=len(head)).inputs["jpeg"].shape == (1, 4)
    head = json.dumps({"inputs": [good | tensor]}).encode()
    for body in (head + b"1234", head, head[:-1], b""):
        with pytest.raises(EngineError, match="not a request with binary tensors"):
            open_inference.read(body, head_bytes=len(head))


def test_a_pipeline_that_no_app_can_serve_is_an_error(monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(VisiontaxError, match="unknown: nothing"):
        model_of("nothing")
    model = tasks.task("depth").dnn.model
    (tmp_path / model).mkdir()
    shutil.copy(paths.REPOSITORY / model / FILE, tmp_path / model)
    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    with pytest.raises(VisiontaxError, match=r"has no 1/model.onnx in the model repository"):
        model_of("depth")
    monkeypatch.setenv(paths.ELSEWHERE, str(tmp_path))
    for name in APPS:
        app = start.start(name, "depth", tmp_path)
        with (
            app,
            pytest.raises(ServerError, match=f"{TITLES[name]} stopped while starting: {model}"),
        ):
            app.wait_ready()


def test_every_server_but_triton_is_an_app() -> None:
    assert (TRITON, *APPS) == SERVERS


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("place", "client", "LitServe serves with the place server, not client"),
        ("place", "server-gpu", "LitServe serves with the place server, not server-gpu"),
        ("transport", "grpc", "LitServe serves with the transport http, not grpc"),
        ("transport", "fake", "LitServe serves with the transport http, not fake"),
        ("device", "gpu", "LitServe serves with the device cpu, not gpu:0"),
    ],
)
def test_what_only_triton_can_do_is_refused(setting, value, words, tmp_path: Path) -> None:
    given = ("--server", "litserve", f"--{setting}", value, "--results", tmp_path)
    said = refused("run", "classification", *given, code=1, words=f"error: {words}")
    assert "or --server triton" in said
    given = ("--b", f"server=litserve, {setting}={value}", "--results", tmp_path)
    refused("ab", "classification", *given, code=2, words=f"error: --b: {words}")


def test_a_chain_is_refused(tmp_path: Path) -> None:
    given = ("--server", "fastapi", "--results", tmp_path)
    refused("run", "faces", *given, code=1, words="FastAPI serves pipelines of one DNN, no chains")


def test_a_name_that_is_none_is_a_usage_error() -> None:
    words = "no port: nginx; write it as host:port; or name one of triton, fastapi, litserve"
    refused("run", "classification", "--server", "nginx", code=2, words=words)
    refused("ab", "classification", "--b", "server=nginx", code=2, words=words)


def test_a_missing_package_is_named_with_its_cure(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(APPS, "fastapi", App(APPS["fastapi"].module, ("click", "fast_nothing")))
    words = ["FastAPI needs packages that are not installed: fast_nothing", "'visiontax[servers]'"]
    given = ("--server", "fastapi", "--images", "small", "--results", tmp_path)
    refused("run", "classification", *given, code=1, words=words)
    given = ("--b", "server=fastapi", "--images", "small", "--results", tmp_path)
    refused("ab", "classification", *given, code=1, words=words)


def _is_app(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # it may have ended
        return "litserve_app" in " ".join(process.cmdline())
    return False


def test_nothing_is_left_of_an_app_whose_run_was_killed(tmp_path: Path) -> None:
    given = ("--server", "litserve", "--images", "small", "--results", tmp_path / "results")
    log = tmp_path / "log"
    with started((*BENCH, "run", "classification"), *given, log=log) as process:
        until(lambda: list((tmp_path / "results").glob("*/requests-*.jsonl")), "requests")
        everything = family(process)
        assert any(map(_is_app, everything))
        process.kill()
        wait_gone(everything)
