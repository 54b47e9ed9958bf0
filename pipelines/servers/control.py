"""What is asked of a running Triton over HTTP: whether it is ready, its models, its trace."""

import contextlib
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from typing import Any

from pipelines.engines.address import CA_FILE, HEADERS, address_of, headers, trusted
from pipelines.errors import ServerError
from pipelines.servers.device import CPU, Device
from pipelines.servers.sizing import Served, served
from pipelines.tasks.served import preprocesses_on_gpu

A_FILE = 50
"""How many requests' traces are in each file that Triton writes."""


START_TIMEOUT_S = 120.0

ON_GPU = (
    "build its models with 'bench models --device gpu', and have the server on a GPU: --device gpu "
    "of 'bench serve' and 'bench run'"
)


def setting(url: str, **changes: Any) -> dict[str, Any]:
    """Change and return the trace setting of the Triton at the address `url`.

    Any change, even to the same value, makes Triton write out what it has traced so far.
    """
    body = json.dumps(changes).encode() if changes else None
    try:
        answer: dict[str, Any] = json.loads(ask(url, "/v2/trace/setting", body=body))
        return answer
    except (OSError, ValueError, HTTPException) as error:
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
    """Whether a Triton at the address `url` says that it is ready."""
    return _answers(url, "/v2/health/ready")


def check_ready(url: str, *, hint: str, of: str = "", name: str = "Triton") -> None:
    """Raise ServerError, beginning with `of`, unless a server there, which is called `name`, says
    that it is ready. `hint` is the cure where nobody answers.
    """
    try:
        ask(url, "/v2/health/ready", timeout_s=2)
        return
    except urllib.error.HTTPError as error:
        why = f": HTTP {error.code} {error.reason}"
        if error.code in (401, 403):
            hint = f"give what it asks for in {HEADERS}: 'Authorization: Bearer ...'"
        elif location := error.headers.get("Location"):
            hint = f"give the address that it points to: {location}"
    except (OSError, ValueError, HTTPException) as error:
        cause = getattr(error, "reason", error)
        why = "" if isinstance(cause, ConnectionError) else f": {cause}"
        if isinstance(cause, HTTPException):  # its words are whatever came
            why = ": it does not speak HTTP"
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = f"name the file of the CA that signed its certificate in {CA_FILE}"
        elif isinstance(cause, ssl.SSLError):
            hint = "does it speak TLS? without it write http://"
    raise ServerError(f"{of}{name} is not ready at {url}{why}", hint=hint)


def load(url: str, models: Iterable[str]) -> None:
    """Have the Triton at the address `url` serve these models, those that it does not yet.

    Raises ServerError in Triton's own words when it refuses.
    """
    for model in models:
        if _answers(url, f"/v2/models/{model}/ready"):
            continue
        path = f"/v2/repository/models/{model}/load"
        try:
            ask(url, path, body=b"{}", timeout_s=START_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            raise ServerError(
                f"Triton at {url} does not serve {model}: {words_of(error)}",
                hint=f"this is the place server-gpu: {ON_GPU}"
                if preprocesses_on_gpu(model)
                else "start it with --model-control-mode=explicit, as 'bench serve' does, or with "
                "this model; is the model built ('bench models')?",
            ) from error
        except (OSError, ValueError) as error:
            raise ServerError(f"Triton at {url} does not load {model}: {error}") from error


def device_of(url: str, model: str) -> Device:
    """Return where the Triton at the address `url` runs the model.

    Raises ServerError when it does not say.
    """
    try:
        groups = _config(url, model)["instance_group"]
        gpus = sorted({int(gpu) for group in groups for gpu in group.get("gpus", [])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(f"Triton at {url} does not say where it runs {model}: {error}") from error
    return Device("gpu", tuple(gpus)) if gpus else CPU


def served_by(url: str, models: Iterable[str]) -> dict[str, Served]:
    """Return how the Triton at the address `url` serves each of the models that it does serve."""
    found = {}
    for model in models:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, HTTPException):
            found[model] = served(_config(url, model))
    return found


def _config(url: str, model: str) -> Any:
    return json.loads(ask(url, f"/v2/models/{model}/config"))


def words_of(error: urllib.error.HTTPError) -> str:
    """Return a server's own words for why it refused."""
    try:
        return str(json.loads(error.read())["error"]).splitlines()[0]  # then a Python stack
    except (OSError, ValueError, LookupError, TypeError):
        return str(error)


def _answers(url: str, path: str) -> bool:
    try:
        ask(url, path, timeout_s=2)
    except (OSError, ValueError, HTTPException):
        return False
    return True


def ask(url: str, path: str, *, body: bytes | None = None, timeout_s: float = 10) -> bytes:
    """Return the answer to a GET, or to a POST of the body.

    It asks the server itself, as the transports do, whatever `http_proxy` says. Raises OSError,
    ValueError or HTTPException without an answer, and urllib's HTTPError with one that is no good.
    """
    at = address_of(url)
    handlers = [urllib.request.ProxyHandler({}), _Stay()]
    if at.secure:
        handlers.append(urllib.request.HTTPSHandler(context=trusted()))
    opener = urllib.request.build_opener(*handlers)
    sent = headers() | ({} if body is None else {"Content-Type": "application/json"})
    request = urllib.request.Request(at.url + path, data=body, headers=sent)
    with opener.open(request, timeout=timeout_s) as reply:
        return bytes(reply.read())


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: headers may hold a secret, and requests would not follow either."""

    def redirect_request(self, *_: Any) -> None:
        """Leave it an error."""
