"""A side of an experiment as its user writes it: `preprocess=dali, users=4`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from bench.commands.options import DEFAULT_IMAGES, OFFERED, Duration, On, Workers
from bench.generator.setup import setup_of
from bench.prepare.images.sets import SETS
from bench.record.scenario import Settings
from bench.runs.experiments.side import Side
from pipelines import tasks
from pipelines.errors import VisiontaxError
from pipelines.preprocess.ways import WAYS
from pipelines.servers.device import CPU
from pipelines.topologies.brokered.messages import FORMS
from pipelines.topologies.choose import DEFAULT_TOPOLOGY, PLACES, TOPOLOGIES
from pipelines.topologies.steps import MOST_CROPS

COMMON = (
    click.Option(
        ["--images"], metavar="NAME", help="An image set, or a folder of JPEGs.  [as bench run]"
    ),
    click.Option(["--preprocess"], type=click.Choice(sorted(WAYS)), default="opencv"),
    click.Option(
        ["--place"], type=click.Choice(PLACES), default="server", help="Who preprocesses."
    ),
    click.Option(
        ["--transport"],
        type=click.Choice(OFFERED),
        default="http",
        help="How requests travel to Triton.",
    ),
    click.Option(
        ["--topology"],
        type=click.Choice(TOPOLOGIES),
        help="How a chain's DNNs are connected.  [direct]",
    ),
    click.Option(
        ["--crops"],
        type=click.Choice(FORMS),
        default="raw",
        help="How crops travel through a broker.",
    ),
    click.Option(
        ["--workers"], type=Workers(), default="1,1", help="Of the first and of the second stage."
    ),
    click.Option(
        ["--batch"], type=click.IntRange(1, MOST_CROPS), default=8, help="Most crops taken."
    ),
    click.Option(
        ["--users"], type=click.IntRange(1), default=4, help="Users who each wait for answers."
    ),
    click.Option(
        ["--warmup"], type=Duration(), default="2s", help="How long each side runs at first."
    ),
    click.Option(
        ["--device", "on"], type=On(), default=str(CPU), help="Where the servers have DNNs."
    ),
    click.Option(["--seed"], type=int, default=1, help="Of the blocks, and the order of images."),
)
"""What both sides have in common, where a side says nothing else: options of `bench run`."""

OWN = (
    click.Option(
        ["--repo", "repository"], type=click.Path(path_type=Path, exists=True, file_okay=False)
    ),
    click.Option(["--rev", "revision"]),
    click.Option(["--server"]),
    click.Option(["--broker-url", "broker"]),
    click.Option(["--claims-url", "claims"]),
)
"""What only a side can say: two sides with one of these in common would disturb each other."""

KEYS = {option.opts[0].removeprefix("--"): option for option in (*COMMON, *OWN)}
"""Each key of a side, and how its value is read."""


def read(name: Literal["a", "b"], text: str, *, pipeline: str, common: Mapping[str, Any]) -> Side:
    """Return the side: what both have in common, by parameter, and then what `text` says.

    Raises click.UsageError naming the side when a key or a value is wrong, or goes with no other.
    """
    values = {**common, **_parse(name, text)}
    images = values.get("images") or DEFAULT_IMAGES.get(pipeline, "medium")
    server = values.get("server")
    settings = Settings(
        pipeline=pipeline,
        images=images if images in SETS else str(Path(images).resolve()),
        preprocess=values["preprocess"],
        place=values["place"],
        transport=values["transport"],
        topology=values["topology"] or (DEFAULT_TOPOLOGY if tasks.is_chain(pipeline) else None),
        crops=values["crops"],
        workers=values["workers"],
        batch=values["batch"],
        users=values["users"],
        warmup_s=values["warmup"],
        seed=values["seed"],
        server=server.removeprefix("http://").rstrip("/") if server else None,
        broker=values.get("broker"),
        claims=values.get("claims"),
    )
    repository, revision = values.get("repository"), values.get("revision")
    if server and repository:
        raise click.UsageError(f"--{name}: server= has its own repository; leave repo= out")
    try:
        setup_of(settings, broker="to be started").check()
    except VisiontaxError as error:
        raise click.UsageError(f"--{name}: {error}; {error.hint}") from error
    return Side(name, text.strip(), settings, values["on"], repository, revision)


def check_apart(a: Side, b: Side, *, option: str) -> None:
    """Raise click.UsageError of B's option when the sides would disturb each other."""
    for key in ("server", "broker"):
        given = getattr(a.settings, key) if a.settings.traced else None
        if given and given == getattr(b.settings, key):
            raise click.UsageError(f"{option}: both sides have the same {key}; each needs its own")


def _parse(name: str, text: str) -> dict[str, Any]:
    values = {}
    for part in re.split(r"[\s,]+(?=[^\s,=]+=)", text.strip()):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not part:
            continue
        if not equals or not value:
            raise click.UsageError(f"--{name}: {part!r} is not key=value; known: {', '.join(KEYS)}")
        if key not in KEYS:
            raise click.UsageError(f"--{name}: unknown key {key!r}; known: {', '.join(KEYS)}")
        option = KEYS[key]
        try:
            values[str(option.name)] = option.type.convert(value.rstrip(", "), option, None)
        except click.UsageError as error:
            raise click.UsageError(f"--{name}: {key}: {error.message}") from error
    return values
