"""The options of `locust -f bench/load.py` that Locust has no name of its own for."""

import argparse
from pathlib import Path
from typing import Any

import click
import msgspec
from locust.env import Environment

from bench.generator.spec import LoadSpec
from bench.record.folders import RESULTS
from bench.record.scenario import Settings, settings_of
from pipelines.engines.address import address_of
from pipelines.errors import VisiontaxError
from pipelines.topologies.scenario import flag, table

DEFAULT_SERVER = "127.0.0.1:8000"

_OF_LOCUST = ("server", "users", "device")
"""What is `--host` and `--users` there, and what the server knows better."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add our options to Locust's, under the names of `bench run`."""
    add = parser.add_argument  # a group's options would be missing from Locust's web page
    for field, setting in table(Settings).items():
        if field not in _OF_LOCUST:
            names = [flag(field), *([setting.also] if setting.also else [])]
            known = list(setting.known) or None
            add(*names, dest=field, default=setting.default, choices=known, help=setting.shown)
    add("--results", default=str(RESULTS), help="where the run's folder goes")
    add("--start-server", action="store_true", help="start the embedded Triton for this run")
    hidden: dict[str, Any] = {"help": argparse.SUPPRESS, "include_in_web_ui": False}
    add("--run-folder", default="", **hidden)  # the master's to tell its workers
    add("--load", default="", **hidden)


def spec_of(environment: Environment) -> LoadSpec:
    """Return what is asked of this process: the document given, or what a person chose.

    Locust hands the parsed options on from the master to its workers; its web page may change them.
    Raises VisiontaxError when a value cannot be read.
    """
    parsed = vars(environment.parsed_options)
    if parsed["load"]:
        spec = msgspec.json.decode(parsed["load"], type=LoadSpec)
    else:
        spec = LoadSpec(scenario=_chosen(environment, parsed), results=parsed["results"])
    if parsed["run_folder"]:
        spec = msgspec.structs.replace(spec, folder=parsed["run_folder"])
    return spec


def _chosen(environment: Environment, parsed: dict[str, Any]) -> Settings:
    values = {}
    for field, setting in table(Settings).items():
        value = parsed.get(field)
        if value not in (None, ""):
            try:
                values[field] = click.types.convert_type(setting.type).convert(value, None, None)
            except click.UsageError as error:
                raise VisiontaxError(f"{flag(field)}: {error.message}") from error
    values["users"] = parsed.get("num_users") or 1
    if values.get("transport") != "fake":
        server = environment.host or parsed.get("host") or DEFAULT_SERVER
        values["server"] = str(address_of(server))
    return settings_of(values)


def tell(environment: Environment, *, folder: Path | None) -> None:
    """Have the master's next message to its workers say where they record."""
    parsed = environment.parsed_options
    assert parsed is not None
    parsed.run_folder = str(folder or "")
