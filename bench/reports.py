"""`bench report`: from the folders of stored runs to what is printed."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from bench import results, servertrace
from bench.attribution import ledger, records_of
from bench.report import FORMATS, render
from bench.stats import Summary, summarise
from bench.verdict import judge
from pipelines.spans import Request

EXIT_INVALID = 4


def summary_of(folder: Path) -> Summary:
    """Return the summary of a stored run, also of one that was cut off.

    Raises ResultsError when the folder holds no run, or a damaged one.
    """
    manifest = results.read_manifest(folder)
    gc.disable()  # millions of short-lived objects, and not one cycle among them
    try:
        columns = records_of(_measured(folder, manifest))
    finally:
        gc.enable()
    counted = ledger(
        columns,
        servertrace.read(folder),
        stages=manifest.stages,
        apportion=results.read_apportion(folder),
    )
    end = manifest.window_end_ns or int(columns.end_ns.max(initial=manifest.window_start_ns))
    window_ns = (manifest.window_start_ns, end)
    return summarise(
        manifest,
        counted,
        errors=columns.failed.total(),
        window_ns=window_ns,
        paused_ns=results.read_paused_ns(folder, window_ns=window_ns),
        samples=results.read_samples(folder),
        issues=judge(manifest, counted, failed=columns.failed),
    )


def exit_code(summaries: Sequence[Summary]) -> int:
    """Return what a command that reported these runs exits with."""
    return 0 if all(summary.valid for summary in summaries) else EXIT_INVALID


def _measured(folder: Path, manifest: results.Manifest) -> Iterator[Request]:
    start, end = manifest.window_start_ns, manifest.window_end_ns
    for request in results.read_requests(folder, schema=manifest.schema):
        if request.due_ns >= start and (end is None or request.due_ns < end):
            yield request


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", type=click.Choice(sorted(FORMATS)), default="text", show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Write there instead of to the terminal."
)
def command(runs: tuple[Path, ...], format: str, output: Path | None) -> int:
    """Print the report of one or more folders of results."""
    summaries = [summary_of(run) for run in runs]
    text = render(summaries, format=format)
    if output is None:
        click.echo(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")
    return exit_code(summaries)
