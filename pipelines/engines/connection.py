"""One kept-alive HTTP connection of one user."""

from __future__ import annotations

from http.client import HTTPException
from typing import Any

from geventhttpclient import HTTPClient

from pipelines.errors import EngineError

TIMEOUT_S = 120.0

_NO_ANSWER = (OSError, ValueError, HTTPException)
"""What the client raises where the server is away, hangs up in mid-answer, or talks no HTTP."""


class Connection:
    """A connection to `url` (host:port); `to` names the server in errors."""

    def __init__(self, url: str, *, to: str) -> None:
        host, _, port = url.rpartition(":")
        self._name = f"{to} at {url}"
        self._client = HTTPClient(
            host,
            int(port),
            connection_timeout=10.0,
            network_timeout=TIMEOUT_S,
            block_size=65536,
            disable_ipv6=True,
        )

    def post(
        self, path: str, body: bytes, *, headers: dict[str, Any] | None = None
    ) -> tuple[Any, bytes]:
        """Return the response and its body. Raises EngineError when none comes."""
        try:
            response = self._client.post(path, body=body, headers=headers or {})
            return response, bytes(response.read())
        except _NO_ANSWER as error:
            raise EngineError(f"no answer from {self._name}: {error}") from error

    def close(self) -> None:
        """Hang up."""
        self._client.close()
