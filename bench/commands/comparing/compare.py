"""`bench compare`: stored runs side by side, or an experiment's table again."""

from pathlib import Path

import click

from bench.commands.show import EXIT_INVALID
from bench.compare.likeness import THINGS
from bench.compare.observations import EXPERIMENT
from bench.compare.stored import Run, of_experiment, of_runs
from bench.record.manifest import read_manifest
from bench.report.comparison import render
from bench.report.document import terminal
from bench.report.document.written import FORMATS
from pipelines.errors import VisiontaxError
from pipelines.topologies.setting import Text


class _WithAll(click.Command):
    """A command whose `--with` takes all the arguments that follow it, as a shell's `*` gives."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give each of them a `--with` of its own."""
        given: list[str] = []
        taking, value = False, False
        for word in args:
            if value or word.startswith("-"):
                value = not value and word.startswith("--") and "=" not in word
                if word == "--with":
                    taking, value = True, False
                    continue
                given.append(word)
            else:
                given += ["--with", word] if taking else [word]
        return super().parse_args(ctx, given)


def _things(text: str) -> tuple[str, ...]:
    """Names of THINGS, separated by commas."""
    names = tuple(filter(None, map(str.strip, text.split(","))))
    if unknown := [name for name in names if name not in THINGS]:
        raise VisiontaxError(f"unknown: {', '.join(unknown)}", hint=f"known: {', '.join(THINGS)}")
    return names


@click.command(cls=_WithAll)
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="A...")
@click.option(
    "--with",
    "others",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="B...",
    help="The runs of B: all the folders after it.",
)
@click.option(
    "--by", type=Text("names", _things), help="What is compared.  [the one setting that differs]"
)
@click.option("--format", type=click.Choice(FORMATS), default="text", show_default=True)
def command(
    folders: tuple[Path, ...], others: tuple[Path, ...], by: tuple[str, ...] | None, format: str
) -> int:
    """Compare stored runs, A... with B..., or print an experiment's table again."""
    experiments = [folder for folder in (*folders, *others) if (folder / EXPERIMENT).exists()]
    if experiments and (len(folders) > 1 or others or by):
        raise click.UsageError(f"{experiments[0]} is an experiment, and stands alone")
    if not experiments and not others:
        for folder in folders:
            read_manifest(folder)  # or say that it is no run
        raise click.UsageError("say what to compare with: bench compare A... --with B...")
    if experiments:
        made = of_experiment(experiments[0])
    else:
        a, b = ([Run.read(folder) for folder in side] for side in (folders, others))
        made = of_runs(a, b, by=by or ())
    terminal.show(render(made, format=format), format=format)
    return 0 if made.valid else EXIT_INVALID
