"""How a side's checkout is asked for its server, its workers and its load, whatever its revision.

A revision says by `bench protocol` which VERSION it speaks, and which settings it knows. Those that
have no such command are asked in the words that a person would type.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bench.generator.spec import LoadSpec
from bench.record.files import as_json
from bench.record.scenario import Settings
from bench.runs.equipment import worker_arguments
from bench.runs.run import locust
from pipelines.engines.choose import endpoint
from pipelines.engines.serving import SERVERS, TITLES
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import flag, table

VERSION = 1

SERVED_BY = "served_by"
"""The setting that is no option of its own: a name in the place of the server's address."""

SERVING = "ready; stop with Ctrl-C"
"""The last line of `bench serve` when it is ready."""


class Spoken(msgspec.Struct, kw_only=True):
    """What `bench protocol` prints: its version, and each setting's option, default and help."""

    protocol: int
    settings: dict[str, dict[str, Any]]


def spoken() -> Spoken:
    """Return what this checkout speaks."""
    return Spoken(
        protocol=VERSION,
        settings={
            field: {
                "option": flag(field),
                "default": setting.default,
                "known": list(setting.known),
                "help": setting.shown,
            }
            for field, setting in table(Settings).items()
        }
        | {SERVED_BY: {"option": flag("server"), "known": list(SERVERS)}},
    )


class Speech(Protocol):
    """What Python is to run in a checkout, and what came of it."""

    def check(self, settings: Settings) -> None:
        """Raise VisiontaxError for a setting that is not known there."""

    def load(self, spec: LoadSpec, *, total_s: float, program: Path) -> list[str]:
        """Return the arguments that start the load; `program` is the checkout's locustfile."""

    def worker(self, settings: Settings, stage: str) -> list[str]:
        """Return the arguments that start a worker of the stage."""

    def serve(self, settings: Settings, options: Sequence[str], *, addresses: Path) -> list[str]:
        """Return the arguments that start the server, with these options; it says where it is."""

    def addresses(self, log: Path, *, written: Path) -> dict[str, str]:
        """Return host:port of everything that a server, now ready, has started."""


class Documents:
    """Version 1: what is asked for is one JSON document, and addresses are written to a file."""

    def __init__(self, known: Sequence[str]) -> None:
        """`known` are the settings that the revision knows."""
        self._known = known

    def check(self, settings: Settings) -> None:
        """Raise VisiontaxError for a setting that is not known."""
        _check_known(settings, self._known)

    def load(self, spec: LoadSpec, *, total_s: float, program: Path) -> list[str]:
        """Return Locust's arguments. Raises as `check` does."""
        self.check(spec.scenario)
        return locust(spec, total_s=total_s, program=program)

    def worker(self, settings: Settings, stage: str) -> list[str]:
        """Return the arguments of a worker."""
        return worker_arguments(settings, stage)

    def serve(self, settings: Settings, options: Sequence[str], *, addresses: Path) -> list[str]:
        """Return the arguments of `bench serve`, which writes the addresses."""
        asked = ["-m", "bench", "serve", settings.pipeline, *options]
        return [*asked, "--addresses", str(addresses)]

    def addresses(self, log: Path, *, written: Path) -> dict[str, str]:
        """Return what was written."""
        del log
        return msgspec.json.decode(written.read_bytes(), type=dict[str, str])


class Words:
    """Before version 1: options as a person types them, and addresses as a person reads them."""

    _LOAD = (
        *("pipeline", "images", "preprocess", "place", "transport", "topology", "seed", "warmup_s"),
        *("broker", "crops", "workers", "batch", "claims"),
    )
    _WORKER = ("topology", "broker", "transport", "preprocess", "place", "crops", "batch", "claims")

    def check(self, settings: Settings) -> None:
        """Raise VisiontaxError for a setting that is not known."""
        _check_known(settings, (*self._LOAD, "users", "server", "service_s", "device"))

    def load(self, spec: LoadSpec, *, total_s: float, program: Path) -> list[str]:
        """Return Locust's arguments. Raises as `check` does."""
        asked = spec.scenario
        self.check(asked)
        words = locust(spec, total_s=total_s, program=program)
        words = words[: words.index("--load")] + _options(asked, self._LOAD)
        server = asked.server if asked.traced else f"{1e3 * asked.service_s:g}ms"
        words += ["--host", str(server), "--run-folder", spec.folder]
        return [*words, *(["--paused"] if spec.paused else [])]

    def worker(self, settings: Settings, stage: str) -> list[str]:
        """Return the arguments of a worker."""
        words = ["-m", "pipelines.worker", settings.pipeline, stage]
        words += ["--server", endpoint(settings.transport, settings.server or "")]
        return words + _options(settings, self._WORKER)

    def serve(self, settings: Settings, options: Sequence[str], *, addresses: Path) -> list[str]:
        """Return the arguments of `bench serve`."""
        del addresses
        return ["-m", "bench", "serve", settings.pipeline, *options]

    def addresses(self, log: Path, *, written: Path) -> dict[str, str]:
        """Return what was printed, a name and an address a line."""
        del written
        said = log.read_text(errors="replace")
        return dict(re.findall(r"^(\w+) +(?:http://)?(\S+)$", said, re.MULTILINE))


WORDS = Words()


def _options(settings: Settings, fields: Sequence[str]) -> list[str]:
    """The settings as options, under the names that they had then."""
    words = []
    for field, setting in table(type(settings)).items():
        value = getattr(settings, field)
        if field not in fields or value is None:
            continue
        if setting.with_broker and not settings.brokered:
            continue
        if isinstance(value, tuple):
            value = ",".join(map(str, value))
        words += [setting.also or flag(field), f"{value}s" if field.endswith("_s") else str(value)]
    return words


def _check_known(settings: Settings, known: Sequence[str]) -> None:
    """A revision ignores what it does not know, and would measure something else."""
    if settings.named and SERVED_BY not in known:
        said = f"that revision does not start {TITLES[settings.served_by]}"
        raise VisiontaxError(said, hint="compare this checkout's, or newer ones")
    defaults = Settings()
    for field in table(type(settings)):
        if field not in known and getattr(settings, field) != getattr(defaults, field):
            raise VisiontaxError(
                f"that revision knows no {flag(field)}", hint="leave it out, or compare newer ones"
            )


def speech_of(said: str) -> Documents | None:
    """Return how to speak to who printed this; None where it is no protocol that we know."""
    try:
        spoken = msgspec.json.decode(said, type=Spoken)
    except msgspec.MsgspecError:
        return None
    return Documents(list(spoken.settings)) if spoken.protocol == VERSION else None


def as_text() -> str:
    """Return what `bench protocol` prints."""
    return as_json(spoken()).decode()
