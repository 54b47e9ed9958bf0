"""A run's requests, so many at a time that a long run needs little memory, and with them what
servers say of them.
"""

import dataclasses
import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

import pandas as pd

from bench.ledger.attribution.columns import Records, records_of
from bench.ledger.attribution.ledger import Timeline, ledger, timelines
from bench.ledger.attribution.table import Ledger
from bench.ledger.sources.attached import Attached
from bench.ledger.sources.lookup import JOINED, Told, Trace
from bench.ledger.sources.own_spans import OwnSpans
from bench.record import records
from bench.record.manifest import read_manifest
from pipelines.errors import ResultsError
from pipelines.spans import SERVER, Request


class Files:
    """What says of a run's requests more than their own records do; of one that goes on, what is
    not in `places`. Raises ResultsError where it is damaged.
    """

    def __init__(self, folder: Path, places: Counter[Path]) -> None:
        self.manifest = manifest = read_manifest(folder)
        self._attached = bool(manifest.source and manifest.source.level)
        self.trace = Trace(folder, places, rooted=self._attached)
        self._told = Told(folder, places)
        self.told = OwnSpans(manifest, self._told.all(), by_id=self._told)
        self._apportion = records.read_apportion(folder)

    def complete(self, some: Sequence[Request]) -> set[str]:
        """Give the requests what servers told of them, and what is seen of one that is attached.
        Return the ids by which the trace is to be joined with them.
        """
        ids = ids_of(some)
        self._told.load(ids)
        for one in some if self._told else ():
            self.told.given(one)
        if not self._attached:
            return ids
        attached = Attached(self.trace.of(ids), self.manifest.stages)
        for one in some:
            attached.given(one)
        return set()

    def ledgers(
        self, requests: Iterable[list[Request]], *, beside: Executor
    ) -> Iterator[tuple[Records, Ledger]]:
        """Yield the columns of the requests, some at a time, and their ledger: it is made `beside`
        while the next are read, mostly by code that lets both go on at once.
        """
        made = deque[tuple[Records, Future[Ledger]]]()
        for some in requests:
            ids = self.complete(some)
            columns = records_of(some)
            made.append((columns, beside.submit(self.ledger, columns, ids)))
            if len(made) > 1:
                columns, coming = made.popleft()
                yield columns, coming.result()
        for columns, coming in made:
            yield columns, coming.result()

    def ledger(self, columns: Records, ids: set[str]) -> Ledger:
        """Return the ledger of requests that are complete."""
        executed = self.trace.of(ids, columns=JOINED)
        made = ledger(columns, executed, stages=self.told.stages, apportion=self._apportion)
        if self._by_attached:
            made = dataclasses.replace(made, joined=made.time_of(SERVER) == 0)
        return made

    def timelines(self, answered: Sequence[Request], ids: set[str]) -> list[Timeline]:
        """Return requests that are complete, and succeeded, closely."""
        executed = self.trace.of(ids, columns=JOINED)
        stages, shares = self.told.stages, self._apportion
        found = timelines(answered, executed, stages=stages, apportion=shares)
        if self._by_attached:
            return [
                dataclasses.replace(one, joined=all(part.stage != SERVER for part in one.segments))
                for one in found
            ]
        return found

    @property
    def _by_attached(self) -> bool:
        """Whether a request is joined where what is attached was seen to answer it."""
        return self._attached and self.manifest.traced


def ids_of(some: Iterable[Request]) -> set[str]:
    """Return the ids of the requests and of their calls."""
    return {one.id for one in some}.union(call.id for one in some for call in one.calls)


class Requests:
    """All requests of a run in the order of their records, also those that failed or were not
    measured. Raises ResultsError where they are damaged, and where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._files = folder, Files(folder, Counter())
        self.manifest = self._files.manifest
        self.images = records.read_images(folder)

    def counted(self) -> Iterator[tuple[list[Request], Ledger]]:
        """Yield some requests and the ledger, which has a row for each that succeeded."""
        for some in self._some():
            ids = self._files.complete(some)
            yield some, self._files.ledger(records_of(some), ids)

    def closely(self) -> Iterator[tuple[list[Request], list[Timeline], pd.DataFrame]]:
        """Yield some requests, those closely that succeeded, and of Triton's trace all rows with
        the id of one of them or of its calls.
        """
        for some in self._some():
            ids = ids_of(some)
            rows = self._files.trace.of(ids)
            answered = [one for one in some if one.error is None]
            found = self._files.timelines(answered, self._files.complete(some))
            yield some, found, rows[rows["request"].isin(ids)]

    def _some(self) -> Iterator[list[Request]]:
        found = records.requests_at_a_time(self.folder, schema=self.manifest.schema)
        first = next(found, None)
        if not first:
            raise ResultsError(f"{self.folder} has no requests", hint="see its locust.log")
        return itertools.chain([first], found)
