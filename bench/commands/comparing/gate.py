"""`bench gate`: whether limits are kept, for CI. A change is measured against a baseline, in turns.

A is the baseline, B the candidate: this checkout as it is. Absolute limits alone take one run.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.commands.options import LIMIT, results_option
from bench.commands.sides import COMMON, check_apart, read
from bench.compare.gate import Gate, of_run, of_turns
from bench.compare.observations import EXPERIMENT
from bench.compare.stored import Experimented
from bench.compare.thresholds import Threshold
from bench.prepare.images.sets import need_images
from bench.record.records import read_manifest
from bench.record.scenario import Settings
from bench.report import terminal
from bench.report.gate import FORMATS, junit, render
from bench.runs.experiments.blocks import timing_of
from bench.runs.experiments.checkouts import here
from bench.runs.experiments.experiment import measure_turns
from bench.runs.experiments.paused_load import DiedError
from bench.runs.experiments.side import Side
from bench.runs.experiments.start import equipped
from bench.runs.progress import say_where
from bench.runs.run import Plan, each_run
from pipelines import tasks
from pipelines.errors import VisiontaxError
from pipelines.topologies.scenario import DURATION

_NO_OPTION = ("pipeline", "server", "broker", "claims")


def baseline_of(folder: Path, *, pipeline: str) -> tuple[Settings, str]:
    """Return the settings and the revision of a stored run, which are measured again.

    Raises ResultsError when it is no run that can be read, VisiontaxError when it is of another
    pipeline or of code that no revision holds.
    """
    manifest = read_manifest(folder)
    if manifest.settings.pipeline != pipeline:
        raise VisiontaxError(
            f"{folder} is a run of {manifest.settings.pipeline}, not of {pipeline}",
            hint="choose a baseline of the same pipeline",
        )
    revision = manifest.revision
    if revision is None or revision.endswith("+"):
        state = "with changes that no revision has" if revision else "outside a git checkout"
        raise VisiontaxError(
            f"{folder} was made {state}, so it cannot be measured again",
            hint="make the baseline from a commit, or use --against rev=REV",
        )
    return manifest.settings, revision


def _sides(
    context: click.Context, pipeline: str, *, against: str, candidate: str, common: dict[str, Any]
) -> tuple[Side, Side]:
    """The baseline and the candidate. Options that were not given are those of a stored run."""
    if Path(against).is_dir():
        settings, revision = baseline_of(Path(against), pipeline=pipeline)
        for field in Settings.__struct_fields__:
            given = context.get_parameter_source(field) != ParameterSource.DEFAULT
            if field not in _NO_OPTION and not given:
                common[field] = getattr(settings, field)
        against = f"rev={revision}"
    elif "=" not in against:
        raise click.UsageError(
            f"--against: {against!r} is neither rev=REV, repo=PATH, another key=value, nor a folder"
        )
    a = read("a", against, pipeline=pipeline, common=common)
    b = read("b", candidate, pipeline=pipeline, common=common)
    check_apart(a, b, option="--candidate")
    return a, b if b.text else dataclasses.replace(b, text="this checkout")


def _measure_run(side: Side, *, seconds: float, into: Path) -> Path:
    """Make one run of this checkout and return its folder."""
    with equipped([(side, here())]) as (settings,):
        (folder,) = each_run([Plan(settings, duration_s=seconds, results=into)])
    return folder


def judge(folder: Path, thresholds: Sequence[Threshold]) -> Gate:
    """Return what a stored run or experiment says of the thresholds.

    Raises click.UsageError when a run is asked for a change, else as `of_run` and `of_turns` do.
    """
    if (folder / EXPERIMENT).exists():
        return of_turns(Experimented.read(folder), thresholds)
    changes = [one.text for one in thresholds if one.relative]
    if changes:
        raise click.UsageError(f"{folder} has no baseline, which {changes[0]!r} is a change of")
    return of_run(folder, thresholds)


def _check(what: str, *, changes: Sequence[str], against: str | None, file: Path | None) -> None:
    """Raise click.UsageError when what was asked for makes no sense together."""
    if what not in tasks.PIPELINES and not Path(what).is_dir():
        known = ", ".join(tasks.PIPELINES)
        raise click.UsageError(f"{what!r} is neither a folder nor a pipeline; known: {known}")
    if against and what not in tasks.PIPELINES:
        raise click.UsageError("--against is for a pipeline; a stored experiment has its baseline")
    if against and not changes:
        raise click.UsageError("--against: no --require is a change, such as 'mean < +5%'")
    if changes and not against and what in tasks.PIPELINES:
        raise click.UsageError(f"--require: {changes[0]!r} is a change: say --against what")
    if file and not file.absolute().parent.is_dir():
        raise click.UsageError(f"--junit: there is no folder {file.parent}")


@click.command(params=list(COMMON))
@click.argument("what", metavar="PIPELINE|FOLDER")
@click.option("--require", type=LIMIT, multiple=True, required=True, help="'p99 < +10%'; repeat.")
@click.option("--against", metavar="SIDE|RUN", help="The baseline: rev=REV, repo=PATH, or a run.")
@click.option("--candidate", metavar="SIDE", help="What the candidate has: repo=PATH.")
@click.option("--slice", "slice_s", type=DURATION, default="1s", help="How long each slice is.")
@click.option("--budget", type=DURATION, default="5m", help="How long to measure at most.")
@results_option
@click.option("--junit", "file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--format", type=click.Choice(sorted(FORMATS)), default="text")
@click.pass_context
def command(
    context: click.Context,
    /,
    what: str,
    require: tuple[Threshold, ...],
    against: str | None,
    candidate: str | None,
    slice_s: float,
    budget: float,
    folder: Path,
    file: Path | None,
    format: str,
    **common: Any,
) -> int:
    """Exit with 3 when a limit is not kept: a regression.

    Limits are absolute ('p99 < 50ms', 'error_share < 1%'), or a change against the baseline
    ('throughput > -5%', 'stage.decode < +10%'), which takes --against. A FOLDER is a stored
    experiment or run, which is judged again.
    """
    changes = [one.text for one in require if one.relative]
    _check(what, changes=changes, against=against, file=file)
    if file:
        file.unlink(missing_ok=True)  # what an earlier gate said must not be taken for this one's
    made = Path(what)
    if what in tasks.PIPELINES and against:
        sides = _sides(context, what, against=against, candidate=candidate or "", common=common)
        timing = timing_of(slice_s=slice_s, budget=budget, questions=len(changes))
        need_images(side.settings.images for side in sides)
        measure = partial(
            measure_turns,
            sides,
            into=folder,
            timing=timing,
            seed=common["seed"],
            thresholds=require,
        )
        try:
            made = measure()
        except DiedError as error:  # Triton may crash, which says nothing of a limit
            click.echo(f"warning: {error}; measuring once more", err=True)
            made = measure()
    elif what in tasks.PIPELINES:
        side = read("b", candidate or "", pipeline=what, common=common)
        if side.revision:
            raise click.UsageError("--candidate: a revision is measured against another one only")
        need_images([side.settings.images])
        made = _measure_run(side, seconds=budget, into=folder)
    return show(made, require, file=file, format=format)


def show(folder: Path, thresholds: Sequence[Threshold], *, file: Path | None, format: str) -> int:
    """Print what is decided, write the JUnit file, name the folder, return the exit code."""
    try:
        gate = judge(folder, thresholds)
        if file:
            file.write_bytes(junit(gate))
        terminal.show(render(gate, format=format), format=format)
    finally:
        say_where([folder])
    return gate.exit_code
