"""Plain HTTP: the kept-alive connection of one user, and what asks a web server of the user's own,
which takes an image and gives logits.
"""

import functools
import json
import socket
import time
from http.client import HTTPException
from ssl import SSLContext
from typing import Any

import numpy as np
from geventhttpclient import HTTPClient
from geventhttpclient.connectionpool import create_default_context

from pipelines.engines.address import address_of, ca_file, headers
from pipelines.engines.engine import Engine, Exchange, Parameters
from pipelines.errors import EngineError
from pipelines.tasks.tensors import Tensors, TensorSpec

TIMEOUT_S = 120.0

REQUEST_ID = "x-request-id"
"""The header in which a server's own code finds the id of a request."""

_NO_ANSWER = (OSError, ValueError, HTTPException)
"""What the client raises where the server is away, hangs up in mid-answer, or talks no HTTP."""


@functools.cache
def _context(cafile: str | None = None) -> SSLContext:
    """Return one for all users: to make one takes 30 ms and 0.9 MB."""
    made: SSLContext = create_default_context(cafile=cafile)
    return made


def _send_at_once(connected: socket.socket) -> None:
    """Else the end of a body may wait until the server has acknowledged the rest (Nagle)."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Body:
    """The body of one request: the client writes a file, as which it has this, behind the head.

    Of bytes it makes one write with the head. Where that fills the window before the server has
    read anything, on the loopback 64 KiB, one request in eight then waited for 6 ms.
    """

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def __len__(self) -> int:
        return len(self._rest)

    def read(self, size: int) -> bytes:
        """Give all of it, whatever `size` says, then nothing."""
        del size
        given, self._rest = self._rest, b""
        return given


class Connection:
    """A connection to the address `url` of the server that errors call `server`."""

    server: str

    def __init__(self, url: str, *, server: str = "") -> None:
        self.server = server or self.server
        at = address_of(url)
        self._url, self._prefix = url, at.path
        self._client = HTTPClient(
            at.host,
            at.port,
            headers=headers(),
            connection_timeout=10.0,
            network_timeout=TIMEOUT_S,
            block_size=65536,
            disable_ipv6=":" not in at.host,
            ssl_options={"ca_certs": ca_file()} if at.secure else None,
            ssl_context_factory=_context if at.secure else None,
        )
        self._client._connection_pool.after_connect = _send_at_once

    def post(
        self, path: str, body: bytes, *, headers: dict[str, Any] | None = None
    ) -> tuple[Any, bytes]:
        """Return the response and its body.

        Raises EngineError when none comes, and in the server's own words when it is not 200.
        """
        try:
            response = self._client.post(
                self._prefix + path, body=_Body(body), headers=headers or {}
            )
            reply = bytes(response.read())
        except _NO_ANSWER as error:
            raise EngineError(f"no answer from {self.server} at {self._url}: {error}") from error
        if response.status_code != 200:
            try:
                words = str(json.loads(reply)["error"])
            except (ValueError, KeyError, TypeError):
                words = f"{self.server} answered HTTP {response.status_code}"
            raise EngineError(words)
        return response, reply

    def close(self) -> None:
        """Hang up."""
        self._client.close()


class PlainEngine(Connection, Engine):
    """One user's connection to a server with `POST /classify`, as docs/own-code.md describes it."""

    server = "the plain server"

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: list[TensorSpec],
        request_id: str,
        parameters: Parameters | None = None,
    ) -> Exchange:
        """POST the JPEG; outputs that the server does not have are zeros."""
        del model, parameters
        start = time.monotonic_ns()
        (tensor,) = inputs.values()
        body = tensor.tobytes()
        sent = time.monotonic_ns()
        _, reply = self.post("/classify", body, headers={REQUEST_ID: request_id})
        received = time.monotonic_ns()
        tensors = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in outputs}
        tensors["logits"] = np.frombuffer(reply, np.float32)[None]
        end = time.monotonic_ns()
        return Exchange(tensors, start, sent, received, end, len(body), len(reply))
