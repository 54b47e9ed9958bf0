"""LitServe and onnxruntime: `python -m pipelines.servers.apps.litserve_app PIPELINE --port PORT`.

LitServe has its own processes for HTTP and for what is computed, and a queue between them.
"""

import sys
from typing import Annotated

import click
from fastapi import Depends, Response
from litserve import LitAPI, LitServer

from pipelines.errors import VisiontaxError, complaint
from pipelines.servers.apps.in_process import Asked, InProcess, Reply, model_of, workers
from pipelines.servers.apps.web import INFER, READY, TIMEOUT_S, UVICORN, Answer, asked
from pipelines.servers.visiontax_spans import RequestIds


class Api(LitAPI):
    """The pipeline as LitServe takes it; each of its workers makes one of its own."""

    def __init__(self, pipeline: str) -> None:
        super().__init__(api_path=INFER)
        self._pipeline = pipeline

    def setup(self, device: str) -> None:
        """Open the model, in the worker."""
        del device
        self._ask = InProcess(self._pipeline)

    def decode_request(self, request: Annotated[Asked, Depends(asked)]) -> Asked:
        """Take the request as it came; its annotation has FastAPI read it as bytes."""
        return request

    def predict(self, x: Asked) -> Reply:
        """Compute the answer."""
        return self._ask(x)

    def encode_response(self, output: Reply) -> Response:
        """Return what is sent."""
        return Answer(output)


def made(pipeline: str) -> LitServer:
    """Return the server of the pipeline. Raises VisiontaxError when there is none."""
    model_of(pipeline)  # a worker could only say so in LitServe's words
    return LitServer(
        Api(pipeline),
        accelerator="cpu",
        workers_per_device=workers(),
        timeout=TIMEOUT_S,
        healthcheck_path=READY,
        middlewares=[RequestIds],
    )


@click.command()
@click.argument("pipeline")
@click.option("--port", type=int, required=True)
def command(pipeline: str, port: int) -> None:
    """Serve the pipeline until Ctrl-C."""
    made(pipeline).run(port=port, generate_client_file=False, **UVICORN)


if __name__ == "__main__":
    try:
        command()
    except VisiontaxError as error:
        sys.exit(complaint(error))
