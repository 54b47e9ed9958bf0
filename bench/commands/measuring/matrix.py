"""`bench matrix`: pipelines by images, place of preprocessing and users, beside inference alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from bench.commands.options import Several, results_option, scenario_options
from bench.commands.show import exit_code
from bench.ledger.grid import matrix_of
from bench.ledger.reading import summary_of
from bench.prepare.images.sets import need_images
from bench.record import machine
from bench.record.scenario import TENSOR, Settings, settings_of
from bench.report import terminal
from bench.report.grid import FORMATS, render
from bench.runs.equipment import equipped
from bench.runs.order import in_turn
from bench.runs.progress import say_where
from bench.runs.run import Plan, each_run
from pipelines import tasks
from pipelines.errors import VisiontaxError
from pipelines.servers import device
from pipelines.servers.device import Device
from pipelines.topologies.scenario import DURATION, NOBODY, PLACES, Text

PIPELINES = tuple(name for name in tasks.PIPELINES if not tasks.is_chain(name))


def _numbers(text: str) -> list[int]:
    """Each number of users once, in the order given."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise VisiontaxError(f"not numbers of users: {text!r}", hint="write 1,16")
    return list(dict.fromkeys(map(int, parts)))


NUMBERS = Text("numbers", _numbers)


def alone(settings: Settings) -> Settings:
    """Return the settings of inference alone beside a run with these."""
    return msgspec.structs.replace(settings, images=TENSOR, preprocess=NOBODY, place=NOBODY)


def places_of(on: Device, *, preprocess: str) -> list[str]:
    """Return the places where a server with its DNNs on that device lets images be preprocessed."""
    on_gpu = on.kind == "gpu" and preprocess == "dali"
    return [place for place in PLACES if on_gpu or place != "server-gpu"]


def show(
    folders: Sequence[Path], *, on: Device, note: str, format: str, output: Path | None
) -> int:
    """Print the matrix that these runs are, write it where asked, and return the exit code."""
    summaries = [summary_of(folder) for folder in folders]
    gpus = [device.present()[number] for number in on.gpus]
    matrix = matrix_of(summaries, device=", ".join([str(on), *gpus]), note=note)
    terminal.show(render(matrix, format=format), format=format)
    say_where(folders)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        stem = machine.file_name(str(machine.machine()["cpu_model"]), gpus)
        for kind in ("md", "csv"):
            path = output / f"{stem}.{kind}"
            path.write_text(render(matrix, format=kind) + "\n", encoding="utf-8")
            click.echo(f"the same as a file: {path}", err=True)
    return exit_code(summaries)


def _planned(settings: Sequence[Settings], **common: Any) -> Iterator[list[Plan]]:
    """Yield the runs of each pipeline with each number of users, inference alone among them."""
    groups = itertools.groupby(settings, key=lambda one: (one.pipeline, one.users))
    for _, group in groups:
        members = list(group)
        yield [Plan(one, **common) for one in (alone(members[0]), *members)]


@click.command(
    params=scenario_options(
        several=("images", "place"),
        without=("server", "topology", "broker", "crops", "claims", "batch", "workers"),
        images={"default": "small,medium,large"},
        preprocess={"default": "dali"},
        place={"default": None, "help": "Who preprocesses.  [all that the device allows]"},
        users={"type": NUMBERS, "default": "1,16"},
        warmup_s={"default": "1s"},
        seed={"help": "Of the order of the runs, and of the images."},
    )
)
@click.option(
    "--pipeline",
    "pipelines",
    type=Several(PIPELINES),
    default=",".join(PIPELINES),
    metavar="NAMES",
    help=f"Of one DNN: {', '.join(PIPELINES)}.",
)
@click.option("--rounds", type=click.IntRange(1), default=1, help="Runs of each point.")
@click.option("--duration", type=DURATION, default="3s", help="How long each run measures.")
@results_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write MACHINE.md and MACHINE.csv there.",
)
@click.option("--note", help="What to know of the conditions; the table shows it.")
@click.option("--format", type=click.Choice(sorted(FORMATS)), default="text", help="On stdout.")
def command(
    pipelines: list[str],
    rounds: int,
    duration: float,
    folder: Path,
    output: Path | None,
    note: str | None,
    format: str,
    **given: Any,
) -> int:
    """Measure what preprocessing on the client and on the server costs, task by task.

    Prints one table of throughput and latency by pipeline, images, place and users, beside those
    of inference alone.
    """
    on: Device = given["device"]
    device.require(on)
    need_images(given["images"])
    places = given["place"] or places_of(on, preprocess=given["preprocess"])
    chosen = [
        settings_of(
            given | {"pipeline": pipeline, "images": images, "place": place, "users": users}
        )
        for pipeline, users in itertools.product(dict.fromkeys(pipelines), given["users"])
        for images in dict.fromkeys(given["images"])
        for place in dict.fromkeys(places)
    ]
    made: list[Path] = []
    code = 0
    try:
        with equipped(chosen) as settings:
            groups = list(_planned(settings, duration_s=duration, results=folder))
            for run in each_run(in_turn(groups, rounds=rounds, seed=given["seed"])):
                made.append(run)
    finally:
        if made:
            code = show(made, on=on, note=note or "", format=format, output=output)
    return code
