"""Starts the apps, by the names of their servers."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import NamedTuple

from pipelines import processes
from pipelines.engines.serving import TITLES
from pipelines.errors import ServerError
from pipelines.processes import free_port
from pipelines.servers import control, malloc
from pipelines.servers.launch import guard
from pipelines.servers.service import Service

STOP_TIMEOUT_S = 20.0


class App(NamedTuple):
    """The module that is the program, and the packages that it needs."""

    module: str
    packages: tuple[str, ...]


APPS = {
    "fastapi": App("pipelines.servers.apps.fastapi_app", ("fastapi", "uvicorn")),
    "litserve": App("pipelines.servers.apps.litserve_app", ("litserve", "fastapi", "uvicorn")),
}
"""The apps, by name."""


def check(name: str) -> None:
    """Raise ServerError when a package is missing that the app needs."""
    missing = [each for each in APPS[name].packages if importlib.util.find_spec(each) is None]
    if missing:
        raise ServerError(
            f"{TITLES[name]} needs packages that are not installed: {', '.join(missing)}",
            hint="pip install 'visiontax[servers]'",
        )


def command(name: str, pipeline: str, *, port: int, python: str = sys.executable) -> list[str]:
    """Return the command that serves the pipeline on a port of HOST until SIGTERM.

    Nothing of it is left when it ends, though some servers have processes of their own.
    """
    regions = f"{processes.PREFIX}-{processes.owner()}-{name}-{port}-"
    words = [python, "-m", APPS[name].module, pipeline, "--port", str(port)]
    return [sys.executable, "-I", guard.__file__, regions, *words]


def start(name: str, pipeline: str, folder: Path) -> Service:
    """Start the app with its log in `folder`. Raises ServerError as `check` does."""
    check(name)
    port = free_port()
    return Service(
        TITLES[name],
        command(name, pipeline, port=port),
        port=port,
        folder=folder,
        is_ready=control.is_ready,
        environment=os.environ | malloc.ENVIRONMENT,
        start_timeout_s=control.START_TIMEOUT_S,
        patience_s=STOP_TIMEOUT_S,
    )
