"""`bench matrix`: pipelines by images, place of preprocessing and users, beside inference alone."""

import itertools
from pathlib import Path
from typing import Any

import click
import msgspec

from bench.commands.measuring.grid import measure
from bench.commands.options import Several, run_options, scenario_options
from bench.ledger.grid import matrix_of
from bench.ledger.summary import Summary
from bench.prepare.images.sets import need_images
from bench.record import machine
from bench.record.scenario import TENSOR, Settings, settings_of
from bench.report import terminal
from bench.report.grid import FORMATS, render
from bench.runs.order import in_turn
from pipelines import tasks
from pipelines.errors import VisiontaxError
from pipelines.servers import device
from pipelines.servers.device import Device
from pipelines.topologies.scenario import NOBODY, PLACES, Text

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
@run_options(duration="3s", rounds=1, formats=FORMATS)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write MACHINE.md and MACHINE.csv there.",
)
@click.option("--note", help="What to know of the conditions; the table shows it.")
def command(
    pipelines: list[str],
    rounds: int,
    duration: float,
    folder: Path,
    format: str,
    output: Path | None,
    note: str | None,
    **given: Any,
) -> int:
    """Measure what preprocessing on the client and on the server costs, task by task.

    Prints one table of throughput and latency by pipeline, images, place and users, beside those
    of inference alone.
    """
    on: Device = given["device"]
    device.require(on)
    gpus = [device.present()[number] for number in on.gpus]

    def show(summaries: list[Summary]) -> list[Path]:
        matrix = matrix_of(summaries, device=", ".join([str(on), *gpus]), note=note or "")
        terminal.show(render(matrix, format=format), format=format)
        if output is None:
            return []
        output.mkdir(parents=True, exist_ok=True)
        stem = machine.file_name(str(machine.machine()["cpu_model"]), gpus)
        files = {output / f"{stem}.{kind}": kind for kind in ("md", "csv")}
        for file, kind in files.items():
            file.write_text(render(matrix, format=kind) + "\n", encoding="utf-8")
        return list(files)

    need_images(given["images"])
    places = given["place"] or places_of(on, preprocess=given["preprocess"])
    points = list(itertools.product(dict.fromkeys(given["images"]), dict.fromkeys(places)))
    groups = []
    for pipeline, users in itertools.product(dict.fromkeys(pipelines), given["users"]):
        one = given | {"pipeline": pipeline, "users": users}
        members = [settings_of(one | {"images": images, "place": at}) for images, at in points]
        groups.append([alone(members[0]), *members])
    chosen = in_turn(groups, rounds=rounds, seed=given["seed"])
    return measure(chosen, show, duration=duration, results=folder)
