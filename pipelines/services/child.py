"""A service on 127.0.0.1 as a child process: it ends with its parent, however that ends."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines import child
from pipelines.errors import ServerError

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class Service:
    """A running service; its log is `<folder>/<name>.log`, its data `<folder>/<name>-data`."""

    def __init__(
        self,
        name: str,
        process: subprocess.Popen[bytes],
        *,
        port: int,
        folder: Path,
        is_ready: Callable[[str], bool],
    ) -> None:
        self.name = name
        self.process = process
        self.port = port
        self.log = folder / f"{name}.log"
        self._data = data_folder(folder, name)
        self._is_ready = is_ready

    @property
    def url(self) -> str:
        """The address, host:port."""
        return f"{HOST}:{self.port}"

    def wait_ready(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when it answers. Raises ServerError when it stops or is late."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerError(
                    f"{self.name} stopped while starting: {self._complaint()}",
                    hint=f"the whole story is in {self.log}",
                )
            if self._is_ready(self.url):
                return
            time.sleep(0.02)
        self.stop()
        raise ServerError(
            f"{self.name} was not ready after {timeout_s:.0f} s",
            hint=f"the whole story is in {self.log}",
        )

    def _complaint(self) -> str:
        log = [line for line in self.log.read_text(errors="replace").splitlines() if line]
        telling = [line for line in log if re.search(r"error|exception|fatal", line, re.IGNORECASE)]
        return (telling or log or ["it said nothing"])[0].strip()[:300]

    def stop(self) -> None:
        """End it, and remove its data; the log stays."""
        try:
            child.end(self.process, ask=signal.SIGTERM, patience_s=STOP_TIMEOUT_S)
        finally:
            shutil.rmtree(self._data, ignore_errors=True)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def data_folder(folder: Path, name: str) -> Path:
    """Return where the service `name` with its log in `folder` keeps its data."""
    return folder / f"{name}-data"


def start(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    folder: Path,
    is_ready: Callable[[str], bool],
) -> Service:
    """Start a service that listens on `port` of HOST; `is_ready` asks the one at a host:port."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.log").open("ab") as log:
        process = child.spawn(command, output=log)
    return Service(name, process, port=port, folder=folder, is_ready=is_ready)


def choose_port(wanted: int | None) -> int:
    """Return the port wanted, or any free one. Raises ServerError when it is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the services bind
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise ServerError(
                f"port {wanted} is in use", hint="stop what uses it, or choose another one"
            ) from error
        return int(probe.getsockname()[1])
