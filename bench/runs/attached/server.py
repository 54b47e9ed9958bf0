"""What a server of the Open Inference Protocol says of itself and of its models."""

import json
import urllib.error
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import quote

from bench.prepare.own.stated import Seen
from pipelines.errors import ServerError
from pipelines.servers import control

BINARY = "binary_tensor_data"
"""The extension of servers that take tensors as bytes over HTTP."""

OLDEST = (2, 30)
"""Of Triton, that this is tried with; what it tells of itself has been the same since."""

DEEPEST = 8
"""So many ensembles in each other are looked into."""

_SPEAK_IT = (
    "Triton, MLServer, KServe and OpenVINO Model Server do; a proxy's prefix is a part of the URL"
)


class Server(NamedTuple):
    """A server; `extensions` are those of the protocol that it knows."""

    url: str
    name: str
    version: str
    extensions: frozenset[str]

    @property
    def is_triton(self) -> bool:
        """Whether it is Triton, which has statistics and traces."""
        return self.name.lower() == "triton"

    def __str__(self) -> str:
        """As messages have it."""
        return f"{self.name} {self.version} at {self.url}".replace("  ", " ")


class Model(NamedTuple):
    """A model that is ready. `batch` is how many images it takes at most, 0 where it takes one
    without being asked, None where that is not known. `parts` are the models that compute for it,
    itself where it is no ensemble; `asks` says whether one of them could ask others.
    """

    name: str
    platform: str
    inputs: list[Seen]
    outputs: list[Seen]
    batch: int | None
    parts: list[str]
    asks: bool


def look(url: str) -> Server:
    """Return the server at the address. Raises ServerError when it is none, or not ready."""
    is_it = "is this its HTTP address? gRPC's is another port, which --grpc-port says"
    other = f"the server at {url} does not speak the Open Inference Protocol"
    try:
        control.check_ready(url, hint=is_it, name="the server")
    except ServerError as error:
        if "HTTP 404" in str(error):
            raise ServerError(f"{other}: it has no /v2/health/ready", hint=_SPEAK_IT) from error
        raise
    said = _json(url, "/v2", other)
    name, version = str(said.get("name") or "a server"), str(said.get("version") or "")
    found = Server(url, name, version, frozenset(map(str, said.get("extensions") or ())))
    digits = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    if found.is_triton and tuple(digits) < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise ServerError(
            f"{found} is too old: its traces are read from {least} on", hint="update the server"
        )
    return found


def names(server: Server) -> list[tuple[str, bool]]:
    """Return its models, and whether each is ready. Raises ServerError when it does not list them.

    The protocol has no list; Triton and MLServer have one.
    """
    path = "/v2/repository/index"
    said = _json(server.url, path, f"{server} does not list its models", body=b"{}")
    listed = {
        str(one["name"]): one.get("state") == "READY"
        for one in (said if isinstance(said, list) else [])
        if isinstance(one, dict) and "name" in one
    }
    return sorted(listed.items(), key=lambda item: (not item[1], item[0]))


def model(server: Server, name: str) -> Model:
    """Return the model. Raises ServerError when it is not there, or not ready."""
    at = f"/v2/models/{quote(name, safe='')}"
    said = _json(server.url, at, f"{server} has no model {name} that is ready")
    try:
        inputs, outputs = (
            [_seen(tensor) for tensor in said.get(side) or ()] for side in ("inputs", "outputs")
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ServerError(f"{server} does not say what {name} wants: {said}") from error
    config = _config(server, name)
    parts = dict(_parts(server, name, config))
    asks = any(one.get("backend") == "python" for one in parts.values())
    batch = int(config["max_batch_size"]) if "max_batch_size" in config else None
    return Model(name, str(said.get("platform") or ""), inputs, outputs, batch, [*parts], asks)


def _seen(tensor: Any) -> Seen:
    name = str(tensor["datatype"]).lower()
    shape = tuple(int(side) for side in tensor.get("shape") or ())
    return Seen(str(tensor["name"]), "fp32" if name == "bf16" else name, shape)


def _config(server: Server, name: str) -> dict[str, Any]:
    """A model's configuration, which only Triton tells."""
    try:
        said = json.loads(control.ask(server.url, f"/v2/models/{quote(name, safe='')}/config"))
    except (OSError, ValueError, HTTPException):
        return {}
    return said if isinstance(said, dict) and server.is_triton else {}


def _parts(
    server: Server, name: str, config: dict[str, Any], depth: int = 0
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The models that compute for a model, with their configurations; an ensemble may be a step of
    another.
    """
    steps = (config.get("ensemble_scheduling") or {}).get("step") or []
    if not steps or depth > DEEPEST:
        yield name, config
        return
    for step in steps:
        part = str(step["model_name"])
        yield from _parts(server, part, _config(server, part), depth + 1)


def _json(url: str, path: str, failed: str, *, body: bytes | None = None) -> Any:
    """What it answers. Raises ServerError that begins with `failed`."""
    try:
        return json.loads(control.ask(url, path, body=body))
    except urllib.error.HTTPError as error:
        why, cure = control.words_of(error), _SPEAK_IT
        if error.code in (401, 403) or "restricted" in why:
            cure = "give what it asks for with --header 'NAME: VALUE'"
        elif body is not None:
            cure = "name one of them with --model"
        elif path != "/v2":
            cure = "'bench attach URL' lists those that are ready; load it first, or name another"
        raise ServerError(f"{failed}: {why}", hint=cure) from error
    except (OSError, ValueError, HTTPException) as error:
        raise ServerError(f"{failed}: {error}", hint=_SPEAK_IT) from error
