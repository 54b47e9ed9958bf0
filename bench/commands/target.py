"""What a command that makes many runs of one scenario loads: a pipeline with all that it needs, or
a model of a server that somebody else runs.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from bench.commands.model_input import asked_of, input_options
from bench.commands.options import may_load, stage_option, together
from bench.ledger import units
from bench.ledger.summary import Summary
from bench.prepare.images.sets import need_images, specs_of
from bench.record.scenario import MOST_IN_FLIGHT, OPEN, SIZED, Settings, settings_of
from bench.runs.attached import server as servers
from bench.runs.attached.attach import Wish, attach
from bench.runs.attached.described import described, transport_of
from bench.runs.attached.setting import put_right
from bench.runs.equipment import equipped
from bench.runs.run import Plan, check_alive, execute
from bench.runs.searching import Maker
from pipelines.engines.address import HEADERS, headers
from pipelines.errors import ServerError
from pipelines.tasks.description import Description
from pipelines.tasks.tensors import ENCODED
from pipelines.topologies.names import UNKNOWN
from pipelines.topologies.setting import SERVER, flag, table

NOT_OF_ATTACHED = (
    *(
        "server",
        "place",
        "only",
        "service_s",
        "service_times",
        "topology",
        "normalize",
        "answers",
        "broker",
        "crops",
        "claims",
        "batch",
    ),
    *("workers", "device", *SIZED),
)
"""The settings that make no sense of a server which somebody else runs."""

ATTACHED_TRANSPORTS = ("http", "json", "grpc")
"""The ways to ask one."""

access_options = together(
    click.option(
        "--otlp-port", type=click.IntRange(1, 65535), help="Where its spans are received."
    ),
    click.option(
        "--header", "lines", multiple=True, help="NAME: VALUE, which goes with all requests."
    ),
)
"""Give a command the options of how an attached server is reached."""

pipeline_argument = click.argument(
    "pipeline", type=table(Settings)["pipeline"].type, metavar="[PIPELINE]", required=False
)
"""The argument of a command that may attach instead."""

resume_option = click.option(
    "--resume", type=click.Path(path_type=Path), help="The folder of one to go on with."
)
"""The option of a command whose runs depend on each other."""

target_options = together(
    click.option("--attach", "url", type=SERVER, help="A server that runs, in place of PIPELINE."),
    click.option("--model", "name", help="What to ask of it."),
    input_options,
    stage_option,
    access_options,
)
"""Give a command all that it must know of a server to attach to."""

_OWN = ("url", "name", "given", "otlp_port", "lines")


class Target(NamedTuple):
    """A model of a server that was looked at: how it is asked, and what of that was guessed."""

    server: servers.Server
    model: servers.Model
    about: Description
    guessed: list[str]
    settings: Settings


def looked_at(url: str, lines: Sequence[str]) -> servers.Server:
    """Return the server, to which these headers go from now on, with what killed calls have left
    of it put right. Raises ServerError when it is none.
    """
    if lines:
        os.environ[HEADERS] = "\n".join([os.environ.get(HEADERS, ""), *lines])
        headers()
    server = servers.look(url)
    for each in put_right(url):
        click.echo(each, err=True)
    return server


def target(
    server: servers.Server, name: str, said: Mapping[str, Any], *, transport: str | None
) -> Target:
    """Return what is to be asked, by the settings that were said.

    Raises VisiontaxError when it may not be, or cannot be told how it is.
    """
    may_load(server.url)
    model = servers.model(server, name)
    given = dict(said)
    about, guessed = described(model, asked_of(given))
    values = {field: value for field, value in given.items() if value is not None}
    for note in guessed:
        click.echo(note, err=True)
    values |= {"pipeline": name, "server": server.url}
    values["transport"] = transport or transport_of(server)
    if about.input.type in ENCODED:
        values |= {"preprocess": UNKNOWN, "place": "server"}
        if values["transport"] == "json" and about.input.type == "bytes":
            raise ServerError(
                "an image's file cannot travel as JSON", hint="use --transport grpc or http"
            )
    else:
        values["place"] = "client"
    if any(field in values for field in OPEN):
        values.setdefault("users", MOST_IN_FLIGHT)
    settings = Settings(**values)
    need_images([settings.images])
    return Target(server, model, about, guessed, settings)


@contextlib.contextmanager
def standing(pipeline: str | None, given: dict[str, Any]) -> Iterator[tuple[Settings, Maker]]:
    """Yield the settings as given, of the pipeline or of the server to attach to, and what makes
    runs with such.

    Raises VisiontaxError when neither or both are given, or when it does not stand.
    """
    own = {name: given.pop(name) for name in _OWN}
    if (pipeline is None) is (own["url"] is None):
        raise click.UsageError("say which PIPELINE, or --attach URL --model NAME")
    if own["url"] is None:
        asked_of(given)
        settings = settings_of(given | {"pipeline": pipeline})
        need_images(specs_of([settings]))
        with equipped([settings]) as (ready,):
            yield ready, _make
        return
    if own["name"] is None:
        raise click.UsageError("say which model with --model; 'bench attach URL' lists them")
    _check_only_theirs(given)
    server = looked_at(own["url"], own["lines"])
    said = {name: value for name, value in given.items() if name not in NOT_OF_ATTACHED}
    transport = said.pop("transport", None)
    found = target(server, own["name"], said, transport=transport)
    yield found.settings, _attached(found, dict(own["given"]), own["otlp_port"])


def _check_only_theirs(given: Mapping[str, Any]) -> None:
    """Raise UsageError when something was said that holds of servers of ours only."""
    said = {name for name in given if name in NOT_OF_ATTACHED and was_said(name)}
    if given.get("transport") not in (None, *ATTACHED_TRANSPORTS):
        said.add("transport")
    if said:
        names = ", ".join(sorted(map(flag, said)))
        raise click.UsageError(f"not of a server that is attached to: {names}")


def was_said(name: str) -> bool:
    """Whether the parameter stands on the command line."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _make(settings: Settings, *, duration_s: float, results: Path, **how: Any) -> Path:
    folder = execute(Plan(settings, duration_s, results=results), **how)
    check_alive(settings)
    return folder


def _attached(found: Target, stages: Mapping[str, str], port: int | None) -> Maker:
    said: set[str] = set()

    def once(line: str) -> None:
        if line not in said:
            said.add(line)
            click.echo(line, err=True)

    def make(
        settings: Settings,
        *,
        duration_s: float,
        results: Path,
        tick: Callable[[], None],
        enough: Callable[[Path], bool],
    ) -> Path:
        wish = Wish(settings, stages, duration_s, results, port)
        server, model, about, guessed, _ = found
        how: dict[str, Any] = {"tick": tick, "enough": enough, "say": once}
        return attach(server, model, about, wish, notes=guessed, **how)

    return make


def at(
    settings: Settings, *, rate: float | None = None, users: int | None = None, seed: int
) -> Settings:
    """Return the settings with a load: a rate, or so many users of a closed loop. Each run has a
    seed of its own, or all would be late at the same moments.
    """
    changes: dict[str, Any] = {"seed": settings.seed + seed}
    if rate is not None:
        changes |= {"rate": f"{rate:.4f}".rstrip("0").rstrip(".") + "/s", "think_s": 0.0}
    else:
        changes |= {"rate": None}
    if users is not None:
        changes["users"] = users
    return msgspec.structs.replace(settings, **changes)


def said_options(without: Sequence[str]) -> dict[str, str]:
    """Return what stands on the command line, by the option, but for some."""
    context = click.get_current_context()
    return {
        parameter.opts[0]: str(context.params[parameter.name])
        for parameter in context.command.params
        if parameter.name and parameter.name not in without and was_said(parameter.name)
    }


def shared_of(summary: Summary, opened: Settings | None) -> dict[str, str]:
    """Return what all runs beside this one have, by the name of the setting; `opened` are the
    settings of an open loop.
    """
    told = units.settings(summary)
    shared = {n: t for n, t in told.items() if n not in ("users", "schedule", "duration")}
    if opened:
        shared["arrivals"] = opened.arrivals
        shared["users"] = f"at most {opened.users} under way, then {opened.late}"
    return shared
