"""`bench matrix`: pipelines by images, place of preprocessing and users, beside inference alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bench.commands.options import OFFERED, Duration, On, Several, results_option
from bench.commands.show import exit_code
from bench.ledger.matrix import matrix_of
from bench.ledger.reading import summary_of
from bench.prepare.images.sets import need_images
from bench.record import machine, scenario
from bench.report.matrix import FORMATS, file_name, render
from bench.runs.alone import Alone, alone
from bench.runs.equipment import equipped
from bench.runs.order import in_turn
from bench.runs.progress import say_where
from bench.runs.run import Plan, each_run
from pipelines import tasks
from pipelines.preprocess.ways import WAYS
from pipelines.servers import device
from pipelines.servers.device import CPU, Device
from pipelines.topologies.choose import PLACES

PIPELINES = tuple(name for name in tasks.PIPELINES if not tasks.is_chain(name))


class Numbers(click.ParamType[list[int]]):
    """Numbers of users on the command line."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return them, each once, in the order given."""
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not parts or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
            self.fail(f"not numbers of users: {value!r}; write 1,16", param, ctx)
        return list(dict.fromkeys(map(int, parts)))


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
    click.echo(render(matrix, format=format))
    say_where(folders)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        stem = file_name(str(machine.machine()["cpu_model"]), gpus)
        for kind in ("md", "csv"):
            path = output / f"{stem}.{kind}"
            path.write_text(render(matrix, format=kind) + "\n", encoding="utf-8")
            click.echo(f"the same as a file: {path}", err=True)
    return exit_code(summaries)


def _planned(settings: Sequence[scenario.Settings], **common: Any) -> Iterator[list[Plan]]:
    """Yield the runs of each pipeline with each number of users, inference alone among them."""
    groups = itertools.groupby(settings, key=lambda one: (one.pipeline, one.users))
    for _, group in groups:
        members = list(group)
        yield [Alone(alone(members[0]), **common), *(Plan(one, **common) for one in members)]


@click.command()
@click.option(
    "--pipeline",
    "pipelines",
    type=Several(PIPELINES),
    default=",".join(PIPELINES),
    metavar="NAMES",
    help=f"Of one DNN: {', '.join(PIPELINES)}.",
)
@click.option(
    "--images",
    type=Several(None),
    default="small,medium,large",
    metavar="NAMES",
    help="Image sets, or a folder of JPEGs.",
)
@click.option(
    "--place",
    "places",
    type=Several(PLACES),
    metavar="NAMES",
    help=f"Who preprocesses: {', '.join(PLACES)}.  [all that the device allows]",
)
@click.option("--preprocess", type=click.Choice(sorted(WAYS)), default="dali")
@click.option("--device", "on", type=On(), default=str(CPU), help="Of the DNNs: cpu, gpu or gpu:0.")
@click.option("--transport", type=click.Choice(OFFERED), default="http", help="To Triton.")
@click.option("--users", type=Numbers(), default="1,16", help="Users who each wait for answers.")
@click.option("--rounds", type=click.IntRange(1), default=1, help="Runs of each point.")
@click.option("--duration", type=Duration(), default="3s", help="How long each run measures.")
@click.option("--warmup", type=Duration(), default="1s", help="How long not to measure at first.")
@results_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write MACHINE.md and MACHINE.csv there.",
)
@click.option("--note", help="What to know of the conditions; the table shows it.")
@click.option("--seed", type=int, default=1, help="Of the order of the runs, and of the images.")
@click.option("--format", type=click.Choice(sorted(FORMATS)), default="text", help="On stdout.")
def command(
    pipelines: list[str],
    images: list[str],
    places: list[str] | None,
    preprocess: str,
    on: Device,
    transport: str,
    users: list[int],
    rounds: int,
    duration: float,
    warmup: float,
    folder: Path,
    output: Path | None,
    note: str | None,
    seed: int,
    format: str,
) -> int:
    """Measure what preprocessing on the client and on the server costs, task by task.

    Prints one table of throughput and latency by pipeline, images, place and users, beside those
    of inference alone.
    """
    device.require(on)
    need_images(images)
    chosen = [
        scenario.Settings(
            pipeline=pipeline,
            images=spec,
            preprocess=preprocess,
            place=place,
            transport=transport,
            users=amount,
            warmup_s=warmup,
            seed=seed,
        )
        for pipeline, amount in itertools.product(dict.fromkeys(pipelines), users)
        for spec in dict.fromkeys(images)
        for place in dict.fromkeys(places or places_of(on, preprocess=preprocess))
    ]
    made: list[Path] = []
    code = 0
    try:
        with equipped(chosen, on=on) as settings:
            groups = list(_planned(settings, duration_s=duration, results=folder))
            for run in each_run(in_turn(groups, rounds=rounds, seed=seed)):
                made.append(run)
    finally:
        if made:
            code = show(made, on=on, note=note or "", format=format, output=output)
    return code
