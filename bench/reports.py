"""`bench report`: from the folders of stored runs to what is printed."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from bench import results, servertrace
from bench.attribution import ledger
from bench.report import FORMATS, render
from bench.stats import Summary, summarise
from bench.verdict import judge
from pipelines.spans import Request

EXIT_INVALID = 4


def summary_of(folder: Path) -> Summary:
    """Return the summary of a stored run, also of one that was cut off.

    Raises ResultsError when the folder holds no run, or a damaged one.
    """
    gc.disable()  # hundreds of thousands of small objects, and not one cycle among them
    try:
        manifest = results.read_manifest(folder)
        measured = list(_measured(folder, manifest))
        succeeded = [request for request in measured if request.error is None]
        failed = [request for request in measured if request.error is not None]
        counted = ledger(
            succeeded,
            servertrace.read(folder),
            stages=manifest.stages,
            apportion=results.read_apportion(folder),
        )
    finally:
        gc.enable()
    end = manifest.window_end_ns or max(
        (request.end_ns for request in measured), default=manifest.window_start_ns
    )
    return summarise(
        manifest,
        counted,
        errors=len(failed),
        window_ns=(manifest.window_start_ns, end),
        samples=results.read_samples(folder),
        issues=judge(manifest, counted, failed=failed, succeeded=succeeded),
    )


def _measured(folder: Path, manifest: results.Manifest) -> list[Request]:
    end = manifest.window_end_ns
    return [
        request
        for request in results.read_requests(folder)
        if request.due_ns >= manifest.window_start_ns and (end is None or request.due_ns < end)
    ]


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
    return 0 if all(summary.valid for summary in summaries) else EXIT_INVALID
