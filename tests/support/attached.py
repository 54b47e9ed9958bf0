"""Servers that others started, without anything of ours: to be attached to."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from processes import started, until

from pipelines import processes
from pipelines.paths import REPOSITORY
from pipelines.processes import HOST
from pipelines.servers import control
from pipelines.servers import triton as embedded

PHOTO = """
import time

import numpy as np
import triton_python_backend_utils as pb

from pipelines.triton_models.dlpack import from_triton, respond


class TritonPythonModel:
    def execute(self, requests):
        made = []
        for request in requests:
            data = from_triton(pb.get_input_tensor_by_name(request, "IMAGE"))
            assert bytes(data[:2]) == b"\\xff\\xd8"
            time.sleep(0.01)
            made.append(respond(pb, {"size": np.array([len(data)], np.int64)}))
        return made
"""

PHOTO_CONFIG = """
name: "photo"
backend: "python"
max_batch_size: 0
input [{ name: "IMAGE", data_type: TYPE_UINT8, dims: [ -1 ] }]
output [{ name: "size", data_type: TYPE_INT64, dims: [ 1 ] }]
"""


@contextmanager
def served(
    folder: Path, *options: str, repository: Path = REPOSITORY, **how: Any
) -> Iterator[embedded.Server]:
    """A Triton with these options in the place of ours about traces."""
    made = embedded.Server.__init__

    def bare(self: Any, name: str, command: Sequence[str], **more: Any) -> None:
        own = [word for word in command if not word.startswith("--trace-config")]
        made(self, name, [*own, *options], **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded.Server, "__init__", bare)
        server = embedded.start(folder, repository=repository, **how)
    with server:
        server.wait_ready()
        yield server
        server.process.kill()


def photos(repository: Path) -> Path:
    """A repository with a model that takes an image's file, which takes 10 ms."""
    (repository / "photo" / "1").mkdir(parents=True)
    (repository / "photo" / "1" / "model.py").write_text(PHOTO)
    (repository / "photo" / "config.pbtxt").write_text(PHOTO_CONFIG)
    return repository


NET = """
import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Net(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload):
        pixels = NumpyCodec.decode_input(payload.inputs[0])
        (logits,) = self.session.run(["logits"], {"input": pixels})
        outputs = [NumpyCodec.encode_output("logits", logits)]
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)


class File(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        (data,) = payload.inputs[0].data
        assert data.startswith(b"\\xff\\xd8")
        outputs = [NumpyCodec.encode_output("size", np.array([len(data)]))]
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)
"""


@contextmanager
def mlserver(folder: Path) -> Iterator[str]:
    """An MLServer with the models `net` and `file`; its address. gRPC is on the next port.

    The second takes the file of an image as bytes.
    """
    port = processes.free_port(count=3)
    ports = {name: port + i for i, name in enumerate(("http_port", "grpc_port", "metrics_port"))}
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps({"host": HOST, "parallel_workers": 0} | ports))
    tensor = {"datatype": "FP32", "shape": [-1, 3, 224, 224]}
    net = {
        "name": "net",
        "implementation": "visiontax_models.Net",
        "inputs": [{"name": "input"} | tensor],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 1000]}],
        "parameters": {"uri": str(REPOSITORY / "mobilenetv2" / "1" / "model.onnx")},
    }
    file = {
        "name": "file",
        "implementation": "visiontax_models.File",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1]}],
        "outputs": [{"name": "size", "datatype": "INT64", "shape": [1]}],
    }
    for about in (net, file):
        place = folder / str(about["name"])
        place.mkdir(parents=True)
        (place / "model-settings.json").write_text(json.dumps(about))
        (place / "visiontax_models.py").write_text(NET)
    program = Path(sys.executable).with_name("mlserver")
    with started((str(program), "start", str(folder)), log=folder / "mlserver.log"):
        url = f"{HOST}:{port}"
        until(lambda: control.is_ready(url) and _has(url), "MLServer is ready")
        yield url


def _has(url: str) -> bool:
    try:
        for model in ("net", "file"):
            control.ask(url, f"/v2/models/{model}/ready")
    except OSError:
        return False
    return True


class Speaker(ThreadingHTTPServer):
    """Says over HTTP what it is told to, by path: a status, and what the JSON of the body holds."""

    daemon_threads = True

    def __init__(self, answers: dict[str, tuple[int, Any]]) -> None:
        super().__init__((HOST, 0), _Saying)
        self.answers, self.seen = answers, list[Any]()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.server_port}"


class _Saying(BaseHTTPRequestHandler):
    server: Speaker

    def do_GET(self) -> None:
        self.server.seen.append(self.headers)
        code, said = self.server.answers.get(self.path, (404, {"error": "there is nothing"}))
        body = json.dumps(said).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Say nothing of each."""
