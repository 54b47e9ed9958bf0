"""`bench study`: an experiment that a file describes, as a table, a page and files."""

import functools
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from bench.commands.options import loading_option, may_load, results_option
from bench.commands.show import EXIT_INVALID, resumable
from bench.generator.schedules.schedule import schedule_of
from bench.ledger.grid import study as studies
from bench.ledger.grid.cells import cells_of
from bench.ledger.grid.found import Found
from bench.ledger.grid.kept import Asked, Kept
from bench.ledger.grid.study import Study
from bench.ledger.summary import Summary
from bench.prepare.images.sets import need_images, specs_of
from bench.report.document import terminal
from bench.report.study.page import FORMATS, render
from bench.runs import studying
from bench.runs.progress import say_where
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import DURATION, Text

EXIT_FAILED = 1


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise VisiontaxError(f"{text!r} is not KEY=VALUE")
    return key, value


@click.command(params=[loading_option()])
@click.argument("study", required=False)
@click.option("--list", "listed", is_flag=True, help="Name them all, with their questions.")
@click.option("--plan", is_flag=True, help="Only say what would be run, and how long it takes.")
@click.option(
    "--set",
    "given",
    multiple=True,
    type=Text("KEY=VALUE", _pair),
    help="Another value of a setting, or other values of an axis: users=1,4; may be repeated.",
)
@click.option("--quick", is_flag=True, help="As little as shows how it goes.")
@click.option("--rounds", type=click.IntRange(1), help="Runs of each cell.  [as the study says]")
@click.option("--duration", type=DURATION, help="Of each run.  [as the study says]")
@click.option("--seed", type=click.IntRange(0), default=1, help="Of the order, and of the images.")
@click.option("--note", help="What to know of the conditions; the report shows it.")
@results_option
@click.option("--format", type=click.Choice(FORMATS), default="text", help="On stdout.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Go on with one that was cut off: its folder.",
)
def command(
    *,
    study: str | None,
    listed: bool,
    plan: bool,
    given: Sequence[tuple[str, str]],
    quick: bool,
    rounds: int | None,
    duration: float | None,
    seed: int,
    note: str | None,
    folder: Path,
    format: str,
    resume: Path | None,
) -> int:
    """Run a study: every combination of its axes, in random order, in interleaved rounds.

    STUDY is one that comes with visiontax, as --list names them, or a TOML file of your own. Leaves
    a folder with the runs, a page, and the table as Markdown and CSV.
    """
    if listed:
        for name, one in studies.known().items():
            click.echo(f"{name:14}{one.question}")
        return 0
    if resume:
        kept = Kept.read(resume)
        if study not in (None, kept.asked.name) or given or quick or rounds or duration or note:
            raise click.UsageError("--resume goes on with what was asked; leave the rest out")
        return _conduct(kept, format=format)
    if study is None:
        raise click.UsageError("name a study; --list shows them")
    name, asked = studies.find(study)
    asked = studies.quickened(asked) if quick else asked
    asked = studies.with_values(asked, dict(given))
    changes = {"rounds": rounds, "duration": duration and f"{duration:g}s", "note": note}
    asked = msgspec.structs.replace(asked, **{k: v for k, v in changes.items() if v is not None})
    made = looked_at(name, asked, seed=seed)
    if plan:
        click.echo("\n".join(studying.plan(Kept(folder, made, []))))
        return 0
    return _conduct(Kept.begun(folder, made), format=format)


def looked_at(name: str, study: Study, *, seed: int) -> Asked:
    """Return what is asked, and which of its cells this machine cannot run.

    Raises VisiontaxError when it can run none, or when something is wrong with any.
    """
    errors = {}
    cells = cells_of(study, seed=seed)
    for cell in cells:
        schedule_of(cell.settings)
        may_load(cell.settings.server)
        cell.settings.check_sizes()
        if error := studying.lacking(cell.settings):
            errors[cell.name] = error
    if len(errors) == len(cells):
        raise next(iter(errors.values()))
    lacking = {cell: str(error) for cell, error in errors.items()}
    return Asked(name=name, study=study, seed=seed, lacking=lacking)


def conduct(kept: Kept) -> None:
    """Make the runs that are lacking, and first the images. Raises as `studying.conduct`."""
    need_images(specs_of(cell.settings for cell in kept.cells))
    studying.conduct(kept)


def _conduct(kept: Kept, *, format: str) -> int:
    try:
        with resumable(f"bench study --resume {kept.folder}"):
            conduct(kept)
    finally:
        code = _show(kept, format=format)
    return code


def _show(kept: Kept, *, format: str) -> int:
    """Print and write what there is; return the exit code."""
    if not kept.runs:
        return EXIT_FAILED
    found, shown = kept.found()
    terminal.show(render(found, shown, format=format), format=format)
    write(kept, found, shown)
    say_where([kept.folder])
    click.echo(f"the same as a page: {kept.folder / 'index.html'}", err=True)
    if found.failed:
        return EXIT_FAILED
    return 0 if found.valid else EXIT_INVALID


def write(kept: Kept, found: Found, shown: Sequence[Summary]) -> None:
    """Write its page and its table."""
    for name in ("index.html", "table.md", "table.csv"):
        text = render(found, shown, format=name.partition(".")[2])
        (kept.folder / name).write_text(text + "\n", encoding="utf-8")


def shortcut(name: str) -> click.Command:
    """Return the command that runs the study of that name."""
    assert command.callback is not None
    return click.Command(
        name,
        params=[one for one in command.params if one.name != "study"],
        callback=functools.partial(command.callback, study=name),
        help=f"The same as bench study {name}.",
    )
