"""The `bench` command: a table of subcommands, and what an error looks like.

Subcommands are imported when they are called, so that the analysis half runs without the packages
of the load half.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from pipelines.errors import VisiontaxError

COMMANDS = {
    "run": ("bench.run", "Load a pipeline and print where the time went."),
    "report": ("bench.reports", "Print the report of stored runs."),
    "demo": ("bench.demo", "Run small, medium and large images through all three ways."),
    "sweep": ("bench.sweep", "Sweep a chain's fan-out in every topology."),
    "matrix": ("bench.matrix", "Compare places of preprocessing beside inference alone."),
    "ab": ("bench.ab", "Compare two settings, repositories or revisions in turns."),
    "compare": ("bench.compare", "Compare stored runs, or show an experiment again."),
    "baseline": ("bench.baseline", "Keep runs in the repository to compare later ones with."),
    "gate": ("bench.gate", "Fail when limits are not kept: a regression, for CI."),
    "serve": ("bench.serve", "Start the embedded Triton and keep it until Ctrl-C."),
    "models": ("bench.models", "Build the models of the repository."),
    "plans": ("bench.plans", "Build TensorRT plans of the DNNs, where there is a GPU."),
    "images": ("bench.images", "Make image sets: photographs, faces and lines of text."),
    "doctor": ("bench.doctor", "Say what this machine can run and what is missing."),
    "calibrate": ("bench.calibrate", "Measure how fast the load generator itself can go."),
    "overhead": ("bench.overhead", "Measure what tracing and recording cost."),
    "plain": ("bench.plain", "Compare the served pipeline with a plain FastAPI server."),
    "brokers": ("bench.brokers", "Compare message brokers by themselves, and with a chain's hop."),
    "alarms": ("bench.alarms", "Measure how often the gate is wrong, with real jobs."),
    "scale": ("bench.scale", "Measure how long the analysis of many requests takes."),
}
"""Each subcommand's module, which has it as `command`, and its line in the help."""

EXIT_ERROR, EXIT_USAGE = 1, 2


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        made: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return made

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"max_content_width": 100, "show_default": True})
@click.version_option(package_name="visiontax")
def bench() -> None:
    """Measure the tax a computer-vision request pays around its DNN."""


def _known(error: click.UsageError) -> str:
    """What would have been right, where the user wrote something unknown."""
    if isinstance(error, click.NoSuchOption) and error.ctx:
        options = [o for p in error.ctx.command.params for o in p.opts if o.startswith("--")]
        return f"known options: {', '.join([*options, '--help'])}"
    if error.message.startswith("No such command"):
        return f"known commands: {', '.join(COMMANDS)}"
    return ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Every error is one `error:` line and a hint, without a traceback."""
    try:
        code = bench.main(arguments, standalone_mode=False)
    except click.UsageError as error:
        _complain(error.format_message(), hint=_known(error))
        code = EXIT_USAGE
    except click.ClickException as error:
        _complain(error.format_message(), hint="")
        code = EXIT_ERROR
    except VisiontaxError as error:
        _complain(str(error), hint=error.hint)
        code = EXIT_ERROR
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()
            sys.exit(EXIT_ERROR)
        _complain(str(error), hint="")
        code = EXIT_ERROR
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted", hint="")
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, *, hint: str) -> None:
    click.echo(f"error: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)
