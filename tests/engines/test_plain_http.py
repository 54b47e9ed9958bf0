"""How a request over HTTP leaves: nothing of it waits for the server to have read something."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import gevent.socket
import pytest

from pipelines.engines.plain_http import Connection

BODY = bytes(range(256)) * 1024


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def connection() -> Iterator[Connection]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        made = Connection(f"127.0.0.1:{server.server_port}", server="Echo")
        yield made
        made.close()
        server.shutdown()


def test_a_body_leaves_whole_behind_the_head(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the head it would fill the server's window before that has read anything."""
    written: list[bytes] = []
    at_once: list[int] = []
    send = gevent.socket.socket.send

    def note(self: Any, data: Any, *rest: Any, **named: Any) -> int:
        sent: int = send(self, data, *rest, **named)
        written.append(bytes(data[:sent]))
        at_once.append(self.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return sent

    monkeypatch.setattr(gevent.socket.socket, "send", note)
    for _ in range(2):
        written.clear()
        assert connection.post("/", BODY)[1] == BODY
        assert b"".join(written).endswith(BODY)
        assert not [one for one in written if one.startswith(b"POST") and BODY[:64] in one]
    assert set(at_once) == {1}


def test_an_empty_body_is_one_too(connection: Connection) -> None:
    assert connection.post("/", b"")[1] == b""
