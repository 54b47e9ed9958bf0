"""`bench gate`: whether limits are kept, for CI. A change is measured against a baseline, in turns.

A is the baseline, B the candidate: this checkout as it is. Absolute limits alone take one run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.commands.options import LIMIT, loading_option, results_option
from bench.commands.sides import COMMON
from bench.compare.gate import Gate, of_run, of_turns
from bench.compare.observations import EXPERIMENT
from bench.compare.stored import Experimented
from bench.compare.thresholds import Threshold
from bench.report.document import terminal
from bench.report.document.written import FORMATS
from bench.report.gate import junit, render
from bench.runs.progress import say_where
from pipelines import tasks
from pipelines.topologies.setting import DURATION


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


@click.command(params=[*COMMON, loading_option()])
@click.argument("what", metavar="PIPELINE|FOLDER")
@click.option("--require", type=LIMIT, multiple=True, required=True, help="'p99 < +10%'; repeat.")
@click.option("--against", metavar="SIDE|RUN", help="The baseline: rev=REV, repo=PATH, or a run.")
@click.option("--candidate", metavar="SIDE", help="What the candidate has: repo=PATH.")
@click.option("--slice", "slice_s", type=DURATION, default="1s", help="How long each slice is.")
@click.option("--budget", type=DURATION, default="5m", help="How long to measure at most.")
@results_option
@click.option("--junit", "file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--format", type=click.Choice(FORMATS), default="text")
@click.pass_context
def command(
    context: click.Context,
    /,
    what: str,
    require: tuple[Threshold, ...],
    against: str | None,
    file: Path | None,
    format: str,
    **how: Any,
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
    if what not in tasks.PIPELINES:
        return show(Path(what), require, file=file, format=format)
    from bench.commands.comparing.candidate import measure  # here: a stored one needs no server

    made = measure(context, what, thresholds=require, against=against, **how)
    try:
        return show(made, require, file=file, format=format)
    finally:
        say_where([made])


def show(folder: Path, thresholds: Sequence[Threshold], *, file: Path | None, format: str) -> int:
    """Print what is decided, write the JUnit file, return the exit code."""
    gate = judge(folder, thresholds)
    if file:
        file.write_bytes(junit(gate))
    terminal.show(render(gate, format=format), format=format)
    return gate.exit_code
