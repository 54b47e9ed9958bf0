"""From the folder of a stored run to its ledger and summary: its files are read once."""

import gc
import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.ledger import models
from bench.ledger.attribution.bit_by_bit import Files
from bench.ledger.attribution.ledger import Timeline
from bench.ledger.attribution.table import Ledger, whole
from bench.ledger.mix import by_pipeline, groups
from bench.ledger.models import ModelTable
from bench.ledger.summary import Summary, ended, summarise
from bench.ledger.units import clean
from bench.ledger.verdict.judge import Watched, judge
from bench.ledger.verdict.littles_law import mean_in_flight
from bench.record import records
from bench.record.foreign.statistics import read_snapshots
from bench.record.manifest import Manifest, read_manifest
from pipelines.errors import DEAD_MODEL, ResultsError
from pipelines.spans import Request

OTHERS_FROM = 0.02
"""Of the requests that are ours: as many more that a server counted may be those at the edges."""


@dataclass(frozen=True)
class Reading:
    """A stored run, also one that was cut off.

    `ledger` is of all its successful requests, whenever they were due; `failed` counts, by their
    error, the others that were due in the window of measurement, or that found a process of the
    server dead; `failed_images` and `failed_pipelines` by their image and their pipeline. `strange`
    says what is wrong with the spans that servers told of themselves.
    """

    folder: Path
    manifest: Manifest
    ledger: Ledger
    failed: Counter[str]
    failed_images: Counter[int]
    failed_pipelines: Counter[str]
    strange: list[str]

    @property
    def window_ns(self) -> tuple[int, int]:
        """Its window of measurement; of one that was cut off, to its last answer."""
        start, end = self.manifest.window_start_ns, self.manifest.window_end_ns
        if end is None:
            end = int(self.ledger.end_ns[self.ledger.due_ns >= start].max(initial=start))
        return start, end

    def summary(self) -> Summary:
        """Return what it comes to in its window of measurement."""
        manifest, due_ns = self.manifest, self.ledger.due_ns
        start, end = manifest.window_start_ns, manifest.window_end_ns
        inside = due_ns >= start if end is None else (due_ns >= start) & (due_ns < end)
        counted = self.ledger.select(inside)
        window_ns = self.window_ns
        paused_ns = records.read_paused_ns(self.folder, window_ns=window_ns)
        in_flight = mean_in_flight(
            records.read_crowds(self.folder),
            self.ledger,
            window_ns=window_ns,
            running_ns=window_ns[1] - window_ns[0] - paused_ns,
        )
        samples = records.read_samples(self.folder)
        watched = Watched(
            *(window_ns, paused_ns, self.ledger.due_ns, self.ledger.end_ns, samples, in_flight),
            died=records.read_died(self.folder),
        )
        images = self._images()
        return summarise(
            manifest,
            counted,
            images=images,
            energy=records.read_energy(self.folder),
            errors=self.failed.total() - self.failed[records.DROPPED],
            dropped=self.failed[records.DROPPED],
            window_ns=window_ns,
            paused_ns=paused_ns,
            answered=ended(self.ledger, window_ns),
            in_flight=in_flight.counted,
            samples=samples,
            issues=judge(
                manifest,
                counted,
                failed=self.failed,
                strange=self.strange,
                watched=watched,
                processes=len(records.request_files(self.folder)),
            ),
            mix=[
                *by_pipeline(counted, failed=self.failed_pipelines),
                *groups(counted, images, failed=self.failed_images),
            ],
            counters=self._counters(window_ns),
        )

    def _counters(self, window_ns: tuple[int, int]) -> ModelTable | None:
        """What the server counted in the window, and how much of that was others'."""
        taken, stages = read_snapshots(self.folder), self.manifest.stages
        whole = self.manifest.settings.pipeline
        found = models.between(taken, window_ns=window_ns, stages=stages, whole=whole)
        if found is None:
            return None
        table, (since, until) = found
        ends = self.ledger.end_ns
        own = int(((ends >= since) & (ends < until)).sum())
        asked = {one.model: one.requests for one in table.models}
        others = asked.get(whole, 0) - own
        if others > max(self.manifest.settings.users, OTHERS_FROM * own):
            said = f"{others} of {own + others} requests that it counted were of others"
            table = msgspec.structs.replace(table, notes=[said, *table.notes])
        return table

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
    places = Counter() if places is None else places
    files = Files(folder, places)
    failed, images, pipelines = Counter[str](), Counter[int](), Counter[str]()

    def parts(beside: Executor) -> Iterator[Ledger]:
        telling = _telling(folder, files.manifest, places)
        for columns, part in files.ledgers(telling, beside=beside):
            failed.update(columns.failed)
            images.update(columns.failed_images)
            pipelines.update(columns.failed_pipelines)
            yield part

    gc.disable()  # millions of short-lived objects, and not one cycle among them
    try:
        with ThreadPoolExecutor(1) as beside:
            counted = whole(parts(beside))
    finally:
        gc.enable()
    strange = [clean(said) for said in files.told.strange()]
    return Reading(folder, files.manifest, counted, failed, images, pipelines, strange)


def closely(folder: Path, *, slowest: int = 0, ids: Collection[str] = ()) -> list[Timeline]:
    """Read a few of a run's requests, and return them closely, the slowest first: the `slowest` of
    those that were measured, or those with the `ids`.

    Raises ResultsError as `read` does, when there is none, and of an id that nothing is known of.
    """
    measures = read_manifest(folder).measures

    def choose(everything: Iterable[Request]) -> list[Request]:
        if ids:
            return _named(folder, everything, ids)
        measured = (one for one in everything if one.error is None and measures(one.due_ns))
        return heapq.nlargest(slowest, measured, key=latency_ns)

    found = picked(folder, choose)
    if not found:
        raise ResultsError(
            f"{folder} has no answered request in its window of measurement",
            hint="bench report says what went wrong; --request ID shows one of another time",
        )
    return found


def picked(
    folder: Path, choose: Callable[[Iterable[Request]], Sequence[Request]]
) -> list[Timeline]:
    """Show `choose` all requests, also those that failed, and return closely the answered ones that
    it takes of them. Raises ResultsError as `read` does.
    """
    files = Files(folder, Counter())
    taken = choose(records.read_requests(folder, schema=files.manifest.schema))
    ids = files.complete([*{id(one): one for one in taken}.values()])  # one may be taken twice
    return files.timelines(taken, ids)


def _named(folder: Path, everything: Iterable[Request], ids: Collection[str]) -> list[Request]:
    found = [one for one in everything if one.id in ids]
    unknown = set(ids) - {one.id for one in found}
    if unknown:
        raise ResultsError(
            f"{folder} has no request {', '.join(sorted(map(clean, unknown)))}",
            hint="the lines of requests-*.jsonl there begin with their ids",
        )
    for one in found:
        if one.error is not None:
            raise ResultsError(
                f"the request {clean(one.id)} failed: {clean(one.error)}",
                hint="only of answered requests is known where their time went",
            )
    return sorted(found, key=latency_ns, reverse=True)


def latency_ns(request: Request) -> int:
    """From due to done."""
    return request.end_ns - request.due_ns


def summary_of(folder: Path) -> Summary:
    """Return the summary of a stored run. Raises ResultsError as `read` does."""
    return read(folder).summary()


def _telling(folder: Path, manifest: Manifest, places: Counter[Path]) -> Iterator[list[Request]]:
    """The requests, but of the failed ones only those that were due in the window, and those that
    ended the run: one may have waited for a dead process since the warm-up.
    """
    yield []  # where there is none at all
    for some in records.requests_at_a_time(folder, schema=manifest.schema, places=places):
        yield [
            one
            for one in some
            if one.error is None or manifest.measures(one.due_ns) or DEAD_MODEL in one.error
        ]
