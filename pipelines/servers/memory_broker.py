"""The memory broker as a child process."""

import socket
import sys
from pathlib import Path

from pipelines.processes import free_port
from pipelines.servers.service import Service


def start_memory(folder: Path, port: int | None = None) -> Service:
    """Start the memory broker with its log in `folder`."""
    chosen = free_port(port)
    command = [sys.executable, "-m", "pipelines.brokers.memory_server", "--port", str(chosen)]
    return Service("memory", command, port=chosen, folder=folder, is_ready=_is_ready)


def _is_ready(url: str) -> bool:
    host, _, port = url.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True
