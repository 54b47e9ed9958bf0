"""The `bench` command: a table of subcommands, and what an error looks like.

Subcommands are imported when they are called, so that the analysis half runs without the packages
of the load half.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from pipelines.errors import VisiontaxError, complaint
from pipelines.processes import end_on_signals

SELFCHECK = {
    "overhead": "Measure what tracing and recording cost.",
    "generator": "Measure how fast the load generator itself can go, and how late it is.",
    "scale": "Measure how long the analysis of many requests takes.",
    "brokers": "Compare message brokers by themselves, and with a chain's hop.",
    "alarms": "Measure how often the gate is wrong, with real jobs.",
    "crashes": "Count the crashes of a traced Triton, with its shim and without.",
    "decoding": "Compare scaled decoding with full: its time, and its answers.",
}
"""The commands of `bench selfcheck`, each a module of that name."""

GROUPS = {
    "measuring": {
        "run": "Load a pipeline and print where the time went.",
        "report": "Print the report of stored runs.",
        "export": "Write runs as other tools' files: Parquet, OpenTelemetry, Bencher ...",
        "trace": "Write a run's slowest requests, span by span, for ui.perfetto.dev.",
        "attach": "Load a server that you run, and print where its time goes.",
        "collect": "Bring what workers on other hosts recorded into a run.",
        "ingest": "Report production traffic that Triton recorded.",
        "study": "Run an experiment that a file describes, as a table and a page.",
        "tune": "Find the best setting for this machine and these images.",
        "paper": "Test what the paper claims: its figures, and this machine's.",
        "curve": "Find the knee: throughput and latency by rate, or by users.",
        "slo": "Find the highest rate that holds a latency.",
    },
    "comparing": {
        "ab": "Compare two settings, repositories or revisions in turns.",
        "compare": "Compare stored runs, or show an experiment again.",
        "baseline": "Keep runs in the repository to compare later ones with.",
        "gate": "Fail when limits are not kept: a regression, for CI.",
    },
    "preparing": {
        "serve": "Start the embedded Triton and keep it until Ctrl-C.",
        "add": "Add a model of your own: from then on it is a pipeline.",
        "remove": "Remove a model that was added.",
        "models": "Build the models of the repository.",
        "plans": "Build TensorRT plans of the DNNs, where there is a GPU.",
        "images": "Make image sets: photographs, faces and lines of text.",
        "doctor": "Say what this machine can run and what is missing.",
        "protocol": "Print what this checkout speaks with other revisions.",
    },
    "about visiontax itself": {
        "selfcheck": f"Measure visiontax itself: {', '.join(SELFCHECK)}.",
    },
}
"""The commands by group, each with its line in the help."""

SHORTCUTS = {"demo": "demo", "sweep": "broker", "matrix": "overhead"}
"""Other names of studies as commands."""

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130


class _Lazy(click.Group):
    """Commands that are imported when they are called, by the name of their module."""

    def __init__(self, *, groups: dict[str, dict[str, str]], found_in: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._groups, self._found_in = groups, found_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return [name for group in self._groups.values() for name in group]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in SHORTCUTS and self._groups is GROUPS:
            from bench.commands.measuring.study import shortcut

            return shortcut(SHORTCUTS[cmd_name])
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name == "selfcheck":
            return selfcheck
        group = next(title for title, names in self._groups.items() if cmd_name in names)
        module = f"{self._found_in}.{group}.{cmd_name}"
        made: click.Command = importlib.import_module(module).command
        return made

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for title, names in self._groups.items():
            with formatter.section(title.capitalize()):
                formatter.write_dl(list(names.items()))


_SHOWN = {"max_content_width": 100, "show_default": True}


@click.command(
    cls=_Lazy, groups={"selfcheck": SELFCHECK}, found_in="bench.commands", context_settings=_SHOWN
)
def selfcheck() -> None:
    """Measure visiontax itself, and what it stands on."""


@click.command(cls=_Lazy, groups=GROUPS, found_in="bench.commands", context_settings=_SHOWN)
@click.version_option(package_name="visiontax")
def bench() -> None:
    """Measure the tax a computer-vision request pays around its DNN."""


def _known(error: click.UsageError) -> str:
    """What would have been right, where the user wrote something unknown."""
    if isinstance(error, click.NoSuchOption) and error.ctx:
        options = [o for p in error.ctx.command.params for o in p.opts if o.startswith("--")]
        return f"known options: {', '.join([*options, '--help'])}"
    if error.message.startswith("No such command"):
        assert error.ctx is not None
        known = error.ctx.command
        assert isinstance(known, _Lazy)
        return f"known commands: {', '.join(known.list_commands(error.ctx))}"
    return ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Every error is one `error:` line and a hint, without a traceback."""
    end_on_signals()
    try:
        code = bench.main(arguments, standalone_mode=False)
    except click.ClickException as error:
        hint = _known(error) if isinstance(error, click.UsageError) else ""
        click.echo(complaint(VisiontaxError(error.format_message(), hint=hint)), err=True)
        code = error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        code = EXIT_ERROR
    except (VisiontaxError, OSError) as error:
        click.echo(complaint(error), err=True)
        code = EXIT_ERROR
    except (click.Abort, KeyboardInterrupt):
        click.echo("error: interrupted", err=True)
        code = EXIT_INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)
