"""`bench tune`: which setting is best on this machine, for these images, and how sure that is."""

import functools
from pathlib import Path
from typing import Any

import click

from bench.commands.measuring.study import conduct
from bench.commands.options import results_option, scenario_options
from bench.commands.show import EXIT_INVALID, resumable, show_found
from bench.commands.target import was_said
from bench.predict.axes import axes_of, cores
from bench.record import folders
from bench.record.scenario import OPEN, Settings, settings_of, title
from bench.report.document.written import FORMATS
from bench.report.tuning import render
from bench.runs.tuning import Search, Wish
from pipelines.topologies.setting import DURATION, flag, table

USERS = 8
"""Who saturate a server of few cores."""


@click.command(
    params=scenario_options(
        without=(*OPEN, "arrivals", "late", "server", "only"),
        users={"default": USERS, "help": "Who ask at once: 1 tunes latency, many throughput."},
        warmup_s={"default": "1s"},
    )
)
@click.argument(
    "pipeline", type=table(Settings)["pipeline"].type, metavar="[PIPELINE]", required=False
)
@click.option("--quick", is_flag=True, help="Runs of a second.")
@click.option("--walk", multiple=True, help="Only this axis; may be repeated.  [all]")
@click.option("--scaled", is_flag=True, help="Walk scaled decoding too, which changes answers.")
@click.option("--duration", type=DURATION, help="Of each run.  [3s; quick: 1s]")
@results_option
@click.option("--format", type=click.Choice(FORMATS), default="text", help="On stdout.")
@click.option(
    "--resume", type=click.Path(path_type=Path), help="Go on with one that was cut off: its folder."
)
def command(
    *,
    pipeline: str | None,
    quick: bool,
    walk: tuple[str, ...],
    scaled: bool,
    duration: float | None,
    folder: Path,
    format: str,
    resume: Path | None,
    **given: Any,
) -> int:
    """Find the best setting of PIPELINE on this machine, for these images.

    Walks one axis after the other; what is given as an option stays as it is. Leaves the setting
    that won in tuned.toml, and all that was tried.
    """
    if (pipeline is None) is (resume is None):
        raise click.UsageError("say which PIPELINE, or --resume FOLDER")
    if resume:
        search = Search.read(resume)
    else:
        said = [name for name in given if was_said(name)]
        settings = settings_of({**given, "pipeline": pipeline})
        settings.check()
        # The settings as a command line has them: those that were given, and what they are asked.
        known = {name: _written(settings, name) for name in said}
        known |= {name: _written(settings, name) for name in ("pipeline", "images", "users")}
        fixed = [_key(name) for name in said]
        wish = Wish(
            settings={_key(name): value for name, value in known.items()},
            axes=axes_of(cores(), fixed=fixed, only=walk, scaled=scaled),
            duration=f"{duration or (1.0 if quick else 3.0):g}s",
            seed=settings.seed,
        )
        search = Search.begun(folders.new_folder(folder, f"tune-{title(settings)}"), wish)
    return _walk(search, format=format)


def _walk(search: Search, *, format: str) -> int:
    try:
        with resumable(f"bench tune --resume {search.folder}"):
            search.walk(conduct)
    finally:
        tuned = search.tuned()
        if tuned.heats:
            show_found(search.folder, "tune", functools.partial(render, tuned), format=format)
    if path := search.keep():
        click.echo(f"the setting that won: {path}; again: bench study {path}", err=True)
    told = any(one.ratios for one in tuned.heats) or not tuned.heats
    return 0 if told else EXIT_INVALID


def _key(field: str) -> str:
    return flag(field).removeprefix("--")


def _written(settings: Settings, field: str) -> str:
    """The value of a setting as a user writes it."""
    value = getattr(settings, field)
    if field.endswith("_s"):
        return f"{value:g}s"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
