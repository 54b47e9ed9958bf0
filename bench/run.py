"""`bench run`: the load without Locust's arguments, one run after the other, and their report."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from bench import results
from bench.durations import Duration
from bench.images import images_of
from bench.progress import Progress
from bench.report import FORMATS, render
from bench.reports import exit_code, summary_of
from bench.session import COOLDOWN_NS
from bench.stats import Summary
from pipelines import server as embedded
from pipelines.classification import PIPELINES, PLACES
from pipelines.engine import TRANSPORTS
from pipelines.errors import ServerError, VisiontaxError
from pipelines.preprocess import WAYS

LOAD = embedded.ROOT / "bench" / "load.py"
OFFERED = tuple(name for name in TRANSPORTS if name != "plain")
"""The transports of `bench run`; `plain` needs the server that `bench plain` starts."""

results_option = click.option(
    "--results",
    "folder",
    type=click.Path(path_type=Path),
    default=results.RESULTS,
    help="Where the runs' folders go.",
)
"""The option of every command that makes runs."""

OVERHEAD_S = 4.0
"""About how long a run takes beyond its warm-up and duration."""


@dataclass(frozen=True)
class Plan:
    """One run: its settings, how long it measures, and where its folder goes."""

    settings: results.Settings
    duration_s: float
    results: Path = results.RESULTS
    recorded: bool = True

    @property
    def title(self) -> str:
        """What tells this run from the others."""
        chosen = self.settings
        users = "1 user" if chosen.users == 1 else f"{chosen.users} users"
        images = Path(chosen.images).name
        return f"{images} {chosen.preprocess}@{chosen.place} {chosen.transport} {users}"

    def command(self, folder: Path) -> list[str]:
        """Return the Locust command that makes this run in `folder`.

        Locust counts whole seconds, so the warm-up takes what rounding adds.
        """
        chosen = self.settings
        cooldown_s = COOLDOWN_NS / 1e9
        total_s = math.ceil(chosen.warmup_s + self.duration_s + cooldown_s)
        warmup_s = total_s - self.duration_s - cooldown_s
        command = [
            *("setpriv", "--pdeathsig", "TERM", "--"),
            *(sys.executable, "-m", "locust", "-f", str(LOAD)),
            *("--headless", "--only-summary", "--loglevel", "WARNING", "--stop-timeout", "30"),
            *("--users", str(chosen.users), "--spawn-rate", str(chosen.users)),
            *("--run-time", f"{total_s}s", "--warmup", f"{warmup_s}s"),
            *("--pipeline", chosen.pipeline, "--images", chosen.images),
            *("--preprocess", chosen.preprocess, "--place", chosen.place),
            *("--transport", chosen.transport, "--seed", str(chosen.seed)),
            *("--run-folder", str(folder)),
        ]
        if chosen.server is not None:
            command += ["--host", chosen.server]
        return command if self.recorded else [*command, "--no-record"]


class Several(click.ParamType[list[str]]):
    """One or several names, separated by commas; `known` lists them, None allows any."""

    def __init__(self, known: Sequence[str] | None) -> None:
        self._known = known
        self.name = "|".join(known) if known else "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the list of names."""
        if not isinstance(value, str):
            return value
        names = [name.strip() for name in value.split(",") if name.strip()]
        for name in names:
            if self._known and name not in self._known:
                self.fail(f"unknown: {name!r}; known: {', '.join(self._known)}", param, ctx)
        if not names:
            self.fail("is empty", param, ctx)
        return names


@contextlib.contextmanager
def serving(address: str | None, *, wanted: bool = True) -> Iterator[str | None]:
    """Yield the address of a ready Triton: the one given, or one that runs for as long as this.

    Raises ServerError when there is none at the address. Without `wanted` nothing is started.
    """
    if address is not None:
        address = address.removeprefix("http://").rstrip("/")
        if wanted and not embedded.is_ready(address):
            raise ServerError(
                f"Triton is not ready at {address}",
                hint="is 'bench serve' running? without --server one is started",
            )
        yield address
        return
    if not wanted:
        yield None
        return
    folder = embedded.BUILD / "serve" / str(os.getpid())
    with embedded.start(folder) as running:
        running.wait_ready()
        yield running.url


def execute(plan: Plan, *, tick: Callable[[], None] = lambda: None) -> Path:
    """Make one run and return its folder.

    Raises ResultsError when it cannot be written, and VisiontaxError in the generator's own words
    when that fails. A Ctrl-C leaves what was measured until then in the folder.
    """
    folder = results.make_folder(plan.results, plan.settings)
    log = folder / "locust.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            plan.command(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path.cwd(),
        )
        try:
            while process.poll() is None:
                time.sleep(0.2)
                tick()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            if (folder / results.MANIFEST).exists():
                _name([folder])
            raise
    if process.returncode and not (folder / results.MANIFEST).exists():
        raise _complaint(log)
    if process.returncode == 0:
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("warning: "):
                click.echo(line, err=True)
        log.unlink()
    return folder


def _complaint(log: Path) -> VisiontaxError:
    """The generator's own error, or the end of what it said."""
    lines = log.read_text(errors="replace").splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("error: "):
            hint = after.removeprefix("hint: ") if after.startswith("hint: ") else ""
            return VisiontaxError(line.removeprefix("error: "), hint=hint)
    return VisiontaxError(
        f"the load generator failed: {(lines or ['it said nothing'])[-1]}", hint=f"see {log}"
    )


class CutShortError(VisiontaxError):
    """Not all runs could be made; `folders` are those that were."""

    def __init__(self, message: str, *, hint: str, folders: list[Path]) -> None:
        super().__init__(message, hint=hint)
        self.folders = folders


def execute_all(plans: Sequence[Plan]) -> list[Path]:
    """Make the runs one after the other, showing progress and the time left on stderr.

    Raises CutShortError when one cannot be made, or has left no server for the next one.
    """
    lengths = [plan.settings.warmup_s + plan.duration_s + OVERHEAD_S for plan in plans]
    progress = Progress(sum(lengths))
    folders = []
    try:
        for number, (plan, length) in enumerate(zip(plans, lengths, strict=True), start=1):
            progress.step(f"[{number}/{len(plans)}] {plan.title}", seconds=length)
            folders.append(execute(plan, tick=progress.tick))
            _check_alive(plan.settings)
            progress.done()
    except VisiontaxError as error:
        raise CutShortError(str(error), hint=error.hint, folders=folders) from error
    except KeyboardInterrupt:
        _name(folders)
        raise
    finally:
        progress.clear()
    return folders


def _check_alive(settings: results.Settings) -> None:
    if settings.traced and settings.server and not embedded.is_ready(settings.server):
        raise ServerError(
            f"Triton at {settings.server} stopped answering while it was measured",
            hint="its log says why; 'bench serve' and 'bench run' keep it in build/serve/",
        )


def _name(folders: Sequence[Path]) -> None:
    for folder in folders:
        click.echo(f"results: {folder}", err=True)


def show(folders: Sequence[Path], *, format: str) -> list[Summary]:
    """Print the report of the runs, name their folders on stderr, and return their summaries."""
    summaries = [summary_of(folder) for folder in folders]
    click.echo(render(summaries, format=format))
    _name(folders)
    return summaries


@click.command()
@click.argument("pipeline", type=click.Choice(sorted(PIPELINES)), metavar="PIPELINE")
@click.option(
    "--images",
    type=Several(None),
    default="medium",
    metavar="NAMES",
    help="Image sets: small, medium, large, or a folder of JPEGs.",
)
@click.option(
    "--preprocess",
    type=Several(sorted(WAYS)),
    default="opencv",
    metavar="NAMES",
    help=f"Ways to preprocess: {', '.join(WAYS)}.",
)
@click.option(
    "--place",
    type=Several(PLACES),
    default="server",
    metavar="NAMES",
    help="Who preprocesses: server, or client, which then sends a tensor.",
)
@click.option(
    "--transport",
    type=Several(OFFERED),
    default="http",
    metavar="NAMES",
    help=f"How requests travel: {', '.join(OFFERED)}.",
)
@click.option("--users", type=click.IntRange(1), default=1, help="Users who each wait for answers.")
@click.option("--duration", type=Duration(), default="10s", help="How long to measure.")
@click.option("--warmup", type=Duration(), default="2s", help="How long not to measure at first.")
@click.option("--server", help="A running Triton's HTTP address; without it one is started.")
@results_option
@click.option("--seed", type=int, default=1, help="Of the order of the images.")
@click.option(
    "--format", type=click.Choice(sorted(FORMATS)), default="text", help="Of the report on stdout."
)
def command(
    pipeline: str,
    images: list[str],
    preprocess: list[str],
    place: list[str],
    transport: list[str],
    users: int,
    duration: float,
    warmup: float,
    server: str | None,
    folder: Path,
    seed: int,
    format: str,
) -> int:
    """Load a pipeline and print where the time went.

    Options that take NAMES take several, separated by commas, and run every combination in turn.
    """
    for name in images:
        images_of(name)
    with serving(server, wanted=transport != ["fake"]) as address:
        plans = [
            Plan(
                results.Settings(
                    pipeline=pipeline,
                    images=one,
                    preprocess=way,
                    place=where,
                    transport=how,
                    users=users,
                    warmup_s=warmup,
                    server=None if how == "fake" else address,
                    seed=seed,
                ),
                duration_s=duration,
                results=folder,
            )
            for one, way, where, how in itertools.product(images, preprocess, place, transport)
        ]
        try:
            folders = execute_all(plans)
        except CutShortError as error:
            if error.folders:
                show(error.folders, format=format)
            raise
    return exit_code(show(folders, format=format))
