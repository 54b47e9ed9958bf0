"""What is asked of a running Triton over HTTP: whether it is ready, its models, its trace."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any

from pipelines.errors import ServerError
from pipelines.servers.device import CPU, Device
from pipelines.tasks.served import preprocesses_on_gpu

A_FILE = 50
"""How many requests' traces are in each file that Triton writes."""


START_TIMEOUT_S = 120.0

_ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks the server itself, as the transports do, whatever `http_proxy` says."""

ON_GPU = (
    "build its models with 'bench models --device gpu', and have the server on a GPU: --device gpu "
    "of 'bench serve' and 'bench run'"
)


def setting(url: str, **changes: Any) -> dict[str, Any]:
    """Change and return the trace setting of the Triton at `url` (host:port).

    Any change, even to the same value, makes Triton write out what it has traced so far. Under load
    it should be rare: Triton 2.51 then crashes or hangs once in some thousand changes.
    """
    request = urllib.request.Request(
        f"http://{url}/v2/trace/setting",
        data=json.dumps(changes).encode() if changes else None,
        method="POST" if changes else "GET",
    )
    try:
        with _ask.open(request, timeout=10) as reply:
            answer: dict[str, Any] = json.load(reply)
            return answer
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise ServerError(
            f"Triton at {url} does not let its tracing be set: {error}",
            hint="start it with --trace-config=mode=triton and --trace-config=triton,file=PATH",
        ) from error


def turn_on(url: str) -> None:
    """Trace the timestamps of every request from now on, a file for each A_FILE of them."""
    setting(
        url,
        trace_level=["TIMESTAMPS"],
        trace_rate="1",
        trace_count="-1",
        log_frequency=str(A_FILE),
    )


def flush(url: str) -> None:
    """Make Triton write out what it has traced so far, and go on tracing. For when it is idle."""
    setting(url, trace_level=["TIMESTAMPS"])


def turn_off(url: str) -> None:
    """Stop tracing; Triton writes out what it has."""
    setting(url, trace_level=["OFF"])


def is_ready(url: str) -> bool:
    """Whether a Triton at `url` (host:port of HTTP) says that it is ready."""
    return _answers(f"http://{url}/v2/health/ready")


def load(url: str, models: Iterable[str]) -> None:
    """Have the Triton at `url` (host:port of HTTP) serve these models, those that it does not yet.

    Raises ServerError in Triton's own words when it refuses.
    """
    for model in models:
        if _answers(f"http://{url}/v2/models/{model}/ready"):
            continue
        request = urllib.request.Request(
            f"http://{url}/v2/repository/models/{model}/load", data=b"{}", method="POST"
        )
        try:
            with _ask.open(request, timeout=START_TIMEOUT_S):
                pass
        except urllib.error.HTTPError as error:
            raise ServerError(
                f"Triton at {url} does not serve {model}: {_words(error)}",
                hint=f"this is the place server-gpu: {ON_GPU}"
                if preprocesses_on_gpu(model)
                else "start it with --model-control-mode=explicit, as 'bench serve' does, or with "
                "this model; is the model built ('bench models')?",
            ) from error
        except (OSError, ValueError) as error:
            raise ServerError(f"Triton at {url} does not load {model}: {error}") from error


def device_of(url: str, model: str) -> Device:
    """Return where the Triton at `url` (host:port of HTTP) runs the model.

    Raises ServerError when it does not say.
    """
    try:
        with _ask.open(f"http://{url}/v2/models/{model}/config", timeout=10) as reply:
            groups = json.loads(reply.read())["instance_group"]
        gpus = sorted({int(gpu) for group in groups for gpu in group.get("gpus", [])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(f"Triton at {url} does not say where it runs {model}: {error}") from error
    return Device("gpu", tuple(gpus)) if gpus else CPU


def _words(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"]).splitlines()[0]  # then a Python stack
    except (OSError, ValueError, LookupError, TypeError):
        return str(error)


def _answers(address: str) -> bool:
    try:
        with _ask.open(address, timeout=2) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False
