"""From the folder of a stored run to its summary."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

from bench.ledger.attribution import ledger, records_of
from bench.ledger.summary import Summary, summarise
from bench.ledger.verdict import judge
from bench.record import records, trace
from pipelines.spans import Request


def summary_of(folder: Path) -> Summary:
    """Return the summary of a stored run, also of one that was cut off.

    Raises ResultsError when the folder holds no run, or a damaged one.
    """
    manifest = records.read_manifest(folder)
    gc.disable()  # millions of short-lived objects, and not one cycle among them
    try:
        columns = records_of(_measured(folder, manifest))
    finally:
        gc.enable()
    counted = ledger(
        columns,
        trace.read(folder),
        stages=manifest.stages,
        apportion=records.read_apportion(folder),
    )
    end = manifest.window_end_ns or int(columns.end_ns.max(initial=manifest.window_start_ns))
    window_ns = (manifest.window_start_ns, end)
    return summarise(
        manifest,
        counted,
        errors=columns.failed.total(),
        window_ns=window_ns,
        paused_ns=records.read_paused_ns(folder, window_ns=window_ns),
        samples=records.read_samples(folder),
        issues=judge(manifest, counted, failed=columns.failed),
    )


def _measured(folder: Path, manifest: records.Manifest) -> Iterator[Request]:
    start, end = manifest.window_start_ns, manifest.window_end_ns
    for request in records.read_requests(folder, schema=manifest.schema):
        if request.due_ns >= start and (end is None or request.due_ns < end):
            yield request
