"""What a Triton in OpenTelemetry mode exports to: a receiver of OTLP over HTTP, for one run.

It takes JSON and protobuf, compressed or not, and keeps each export as a line of JSON, as the
collector's file exporter writes it.
"""

import contextlib
import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.record.files import MOST_BYTES, lines_of
from pipelines.errors import ServerError
from pipelines.processes import HOST

PATH = "/v1/traces"
TICK_S = 0.05


class _Exports(ThreadingHTTPServer):
    daemon_threads = True
    keep: Any

    def handle_error(self, *_: Any) -> None:
        """Leave it to who exports to say that he could not."""


class _Export(BaseHTTPRequestHandler):
    server: _Exports
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def do_POST(self) -> None:
        """Keep what is exported."""
        code = self._take()
        self.send_response(code)
        self.send_header("Content-Type", self.headers.get("Content-Type", "application/json"))
        body = b"{}" if "json" in self.headers.get("Content-Type", "") and code == 200 else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _take(self) -> int:
        """Return the status of the answer."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self.close_connection = True
            return 413
        body = self.rfile.read(int(length))
        if self.path != PATH:
            return 404
        try:
            if self.headers.get("Content-Encoding", "") == "gzip":
                body = gzip.decompress(body)
            if "json" in self.headers.get("Content-Type", ""):
                document = json.loads(body)
            else:
                document = MessageToDict(ExportTraceServiceRequest.FromString(body))
        except Exception:  # whatever a stranger's bytes make of the parsers
            return 400
        self.server.keep(document)
        return 200

    def log_message(self, *_: Any) -> None:
        """Say nothing of each."""


class Receiver:
    """Listens on a port of this host while it is open, and appends to the file."""

    def __init__(self, port: int, file: Path) -> None:
        """Open it. Raises ServerError when the port is taken."""
        self.url, self._file = f"http://{HOST}:{port}{PATH}", file
        self._lock, self._places = threading.Lock(), Counter[Path]()
        try:
            self._server = _Exports((HOST, port), _Export)
        except (OSError, OverflowError) as error:
            raise ServerError(
                f"nothing can be received on port {port}: {error}",
                hint="another program has it; give Triton and --otlp-port another one",
            ) from error
        self._server.keep = self._keep
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _keep(self, document: Any) -> None:
        with self._lock, self._file.open("ab") as file:
            file.write(json.dumps(document).encode() + b"\n")

    def _fresh(self) -> Iterator[bytes]:
        with self._lock:
            yield from lines_of(self._file, self._places)

    def await_(self, request_id: str, *, patience_s: float) -> bool:
        """Wait until the spans of a request have come, and say whether they did."""
        wanted, until = f'"{request_id}"'.encode(), time.monotonic() + patience_s
        while time.monotonic() < until:
            if any(wanted in line for line in self._fresh()):
                return True
            time.sleep(TICK_S)
        return False

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self._server.shutdown()
            self._server.server_close()
