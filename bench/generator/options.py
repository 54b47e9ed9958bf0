"""The options of `locust -f bench/load.py` that Locust has no name of its own for."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from locust.env import Environment

from bench.generator.spec import LoadSpec
from bench.record.folders import RESULTS
from bench.record.scenario import SIZED, Settings, settings_of
from pipelines.engines.address import MAY_LOAD, address_of, may_load
from pipelines.engines.choose import SERVERLESS
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import flag, table

DEFAULT_SERVER = "127.0.0.1:8000"

_OF_LOCUST = ("server", "users", "device", *SIZED)
"""What is `--host` and `--users` there, and what the server knows better."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add our options to Locust's, under the names of `bench run`."""
    add = parser.add_argument  # a group's options would be missing from Locust's web page
    for field, setting in table(Settings).items():
        if field not in _OF_LOCUST:
            names = [flag(field), *([setting.also] if setting.also else [])]
            usual = getattr(Settings(), field) if setting.known else setting.default
            default = "" if usual is None else str(usual)  # as a field of the page gives it
            known = [*dict.fromkeys([default, *setting.known])] if setting.known else None
            add(*names, dest=_dest(field), default=default, choices=known, help=setting.shown)
    add("--results", default=str(RESULTS), help="where the run's folder goes")
    add("--start-server", action="store_true", help="start the embedded Triton for this run")
    add(MAY_LOAD, action="store_true", help="--host is not this host, and load is welcome there")
    hidden: dict[str, Any] = {"help": argparse.SUPPRESS, "include_in_web_ui": False}
    add("--run-folder", default="", **hidden)  # the master's to tell its workers
    add("--run-clock", default="", **hidden)
    add("--parts", default="", **hidden)
    add("--load", default="", **hidden)


def _dest(field: str) -> str:
    """How Locust calls a setting; its page labels the field so."""
    return flag(field).removeprefix("--").replace("-", "_")


def spec_of(environment: Environment, fields: Mapping[str, str] | None = None) -> LoadSpec:
    """Return what is asked of this process: the document given, or what a person chose.

    Locust hands the parsed options on from the master to its workers; its web page may change them,
    and `fields` are those of the page that it has not taken over yet.
    Raises VisiontaxError when a value cannot be read.
    """
    parsed = vars(environment.parsed_options) | {"host": environment.host, **(fields or {})}
    if fields and fields.get("user_count", "").isdigit():  # what is no number Locust refuses
        parsed["num_users"] = int(fields["user_count"])
    if parsed["load"]:
        spec = msgspec.json.decode(parsed["load"], type=LoadSpec)
    else:
        spec = LoadSpec(scenario=_chosen(parsed), results=parsed["results"])
    if parsed["run_folder"]:
        spec = msgspec.structs.replace(spec, folder=parsed["run_folder"])
    return spec


def _chosen(parsed: dict[str, Any]) -> Settings:
    values = {}
    for field, setting in table(Settings).items():
        value = parsed.get(_dest(field))
        if value not in (None, ""):
            try:
                values[field] = click.types.convert_type(setting.type).convert(value, None, None)
            except click.UsageError as error:
                raise VisiontaxError(f"{flag(field)}: {error.message}") from error
    values["users"] = parsed.get("num_users")
    if values.get("transport") not in SERVERLESS:
        values["server"] = str(address_of(parsed["host"] or DEFAULT_SERVER))
        may_load(values["server"], said=parsed["i_may_load_this_host"])
    return settings_of(values)


def tell(
    environment: Environment,
    *,
    folder: Path | None,
    clock: Mapping[str, Any] | None = None,
    parts: dict[int, int] | None = None,
) -> None:
    """Have the master's next message to its workers say where they record, by which clock, and
    which part of the schedule each has, by its index.
    """
    parsed = environment.parsed_options
    assert parsed is not None
    parsed.run_folder = str(folder.resolve() if folder else "")
    parsed.run_clock = msgspec.json.encode(clock or {}).decode()
    parsed.parts = msgspec.json.encode(parts).decode() if parts else ""


def clock_of(environment: Environment) -> dict[str, Any]:
    """Return what the master told of the run's clock."""
    told = vars(environment.parsed_options).get("run_clock")
    return msgspec.json.decode(told, type=dict[str, Any]) if told else {}


def parts_of(environment: Environment) -> dict[int, int]:
    """Return what the master told of the parts; nothing where there is no master."""
    told = vars(environment.parsed_options).get("parts")
    return msgspec.json.decode(told, type=dict[int, int]) if told else {}
