"""What the apps have in common towards HTTP: a request as workers take it, and their answer."""

import time
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from pipelines.processes import HOST
from pipelines.servers.apps.in_process import Asked, Reply
from pipelines.servers.apps.open_inference import HEADER_BYTES
from pipelines.servers.visiontax_spans import tell

READY = "/v2/health/ready"
INFER = "/v2/models/{model}/infer"

UVICORN: dict[str, Any] = {
    "host": HOST,
    "log_level": "warning",
    "access_log": False,
    "timeout_keep_alive": 86_400,
}
"""How the apps have uvicorn serve. It hangs up on nobody who is idle: in an experiment, users pause
until it is their turn.
"""

TIMEOUT_S = 120.0
"""How long a request may wait: as long as whoever asks does."""


async def asked(request: Request) -> Asked:
    """Return a request to INFER once all of it is there."""
    body = await request.body()
    told = request.headers.get(HEADER_BYTES, "")
    head_bytes = int(told) if told.isdecimal() else len(body)
    return Asked(request.path_params["model"], body, head_bytes, time.monotonic_ns())


class Answer(Response):
    """A worker's reply. How long it took on its way back from the worker is the stage `output`."""

    def __init__(self, reply: Reply) -> None:
        headers = {HEADER_BYTES: str(reply.head_bytes)} if reply.head_bytes else None
        kind = "application/octet-stream" if reply.head_bytes else "application/json"
        super().__init__(reply.body, reply.status, headers, kind)
        self._done_ns = reply.done_ns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        tell("output", self._done_ns, time.monotonic_ns())
        await super().__call__(scope, receive, send)
