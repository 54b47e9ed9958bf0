"""FastAPI and onnxruntime: `python -m pipelines.servers.apps.fastapi_app PIPELINE --port PORT`.

The event loop only receives and sends; what is computed is computed by a pool of threads.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import click
import uvicorn
from fastapi import FastAPI, Request, Response

from pipelines.errors import VisiontaxError, complaint
from pipelines.servers.apps.in_process import InProcess, workers
from pipelines.servers.apps.web import INFER, READY, UVICORN, Answer, asked
from pipelines.servers.visiontax_spans import RequestIds


def made(pipeline: str) -> FastAPI:
    """Return the app that serves the pipeline. Raises VisiontaxError when there is none."""
    app = FastAPI()
    app.add_middleware(RequestIds)
    ask = InProcess(pipeline)
    pool = ThreadPoolExecutor(workers(), thread_name_prefix=pipeline)

    @app.get(READY)
    async def ready() -> Response:
        return Response()

    @app.post(INFER)
    async def infer(request: Request) -> Response:
        one = await asked(request)
        return Answer(await asyncio.get_running_loop().run_in_executor(pool, ask, one))

    return app


@click.command()
@click.argument("pipeline")
@click.option("--port", type=int, required=True)
def command(pipeline: str, port: int) -> None:
    """Serve the pipeline until Ctrl-C."""
    uvicorn.run(made(pipeline), port=port, **UVICORN)


if __name__ == "__main__":
    try:
        command()
    except VisiontaxError as error:
        sys.exit(complaint(error))
