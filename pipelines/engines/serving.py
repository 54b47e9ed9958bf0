"""The servers that can be started by name, and what of a scenario only Triton can do."""

from pipelines.engines.address import address_of
from pipelines.errors import VisiontaxError

TRITON = "triton"

TITLES = {TRITON: "Triton", "fastapi": "FastAPI", "litserve": "LitServe"}
"""What each is called in a sentence."""

SERVERS = tuple(TITLES)
"""What serves a pipeline, by name: the first where nothing is said."""

_ONLY = {"place": "server", "transport": "http", "device": "cpu"}
"""What the others have of each of these settings."""


def server(text: str) -> str:
    """Return the name of a server, or an address as `address_of` reads it.

    Raises VisiontaxError when it is neither.
    """
    if text in SERVERS:
        return text
    try:
        return str(address_of(text))
    except VisiontaxError as error:
        hint = f"{error.hint}; or name one of {', '.join(SERVERS)}"
        raise VisiontaxError(str(error), hint=hint) from error


def check(name: str, *, chain: bool, asked: dict[str, str]) -> None:
    """Raise VisiontaxError when the server cannot do what is asked.

    `asked` are some of the settings place, transport and device.
    """
    if name not in SERVERS:
        raise VisiontaxError(f"unknown server: {name}", hint=f"known: {', '.join(SERVERS)}")
    if name == TRITON:
        return
    if chain:
        raise VisiontaxError(
            f"{TITLES[name]} serves pipelines of one DNN, no chains",
            hint=f"choose another pipeline, or --server {TRITON}",
        )
    for setting, only in _ONLY.items():
        if asked.get(setting, only) != only:
            raise VisiontaxError(
                f"{TITLES[name]} serves with the {setting} {only}, not {asked[setting]}",
                hint=f"use --{setting} {only}, or --server {TRITON}",
            )
