"""From the folder of a stored run to its ledger and summary: its files are read once."""

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.ledger.attribution import Ledger, ledger, records_of
from bench.ledger.mix import groups
from bench.ledger.summary import Summary, summarise
from bench.ledger.verdict import judge
from bench.record import records, trace
from pipelines.errors import DEAD_MODEL, ResultsError
from pipelines.spans import Request


@dataclass(frozen=True)
class Reading:
    """A stored run, also one that was cut off.

    `ledger` is of all its successful requests, whenever they were due; `failed` counts, by their
    error, the others that were due in the window of measurement, or that found a process of the
    server dead; `failed_images` by their image.
    """

    folder: Path
    manifest: records.Manifest
    ledger: Ledger
    failed: Counter[str]
    failed_images: Counter[int]

    def summary(self) -> Summary:
        """Return what it comes to in its window of measurement."""
        manifest, due_ns = self.manifest, self.ledger.due_ns
        start, end = manifest.window_start_ns, manifest.window_end_ns
        inside = due_ns >= start if end is None else (due_ns >= start) & (due_ns < end)
        counted = self.ledger.select(inside)
        window_ns = (start, end or int(counted.end_ns.max(initial=start)))
        return summarise(
            manifest,
            counted,
            errors=self.failed.total(),
            window_ns=window_ns,
            paused_ns=records.read_paused_ns(self.folder, window_ns=window_ns),
            samples=records.read_samples(self.folder),
            issues=judge(manifest, counted, failed=self.failed),
            mix=groups(counted, self._images(), failed=self.failed_images),
        )

    def _images(self) -> list[records.Image]:
        images = records.read_images(self.folder)
        number = max(int(self.ledger.image.max(initial=-1)), *self.failed_images, -1)
        if images and number >= len(images):
            raise ResultsError(
                f"{self.folder / records.IMAGES} is damaged: image {number} was asked with, and it "
                f"has {len(images)}"
            )
        return images


def read(folder: Path, *, places: Counter[Path] | None = None) -> Reading:
    """Read a run. Raises ResultsError when the folder holds none, or a damaged one.

    `places` are the bytes of each file that were read already, and is kept up to date.
    """
    manifest = records.read_manifest(folder)
    places = Counter() if places is None else places
    gc.disable()  # millions of short-lived objects, and not one cycle among them
    try:
        columns = records_of(_telling(folder, manifest, places))
    finally:
        gc.enable()
    counted = ledger(
        columns,
        trace.read(folder, places),
        stages=manifest.stages,
        apportion=records.read_apportion(folder),
    )
    return Reading(folder, manifest, counted, columns.failed, columns.failed_images)


def summary_of(folder: Path) -> Summary:
    """Return the summary of a stored run. Raises ResultsError as `read` does."""
    return read(folder).summary()


def _telling(folder: Path, manifest: records.Manifest, places: Counter[Path]) -> Iterator[Request]:
    """The requests, but of the failed ones only those that were due in the window, and those that
    ended the run: one may have waited for a dead process since the warm-up.
    """
    start, end = manifest.window_start_ns, manifest.window_end_ns
    for request in records.read_requests(folder, schema=manifest.schema, places=places):
        counts = request.due_ns >= start and (end is None or request.due_ns < end)
        if request.error is None or counts or DEAD_MODEL in request.error:
            yield request
