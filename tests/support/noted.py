"""Delays in the code of a server, which write down how long they really took: a machine that is
busy makes each of them longer than it was asked to be.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from bench.ledger.attribution.table import Ledger
from bench.record import records

MODULE = """
import contextlib
import json
import os
import threading
import time

_file = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


@contextlib.contextmanager
def noted(stage, delay_ns):
    start_ns = time.monotonic_ns()
    time.sleep(delay_ns / 1e9)
    yield
    took = [start_ns, time.monotonic_ns(), threading.get_native_id(), stage]
    os.write(_file, (json.dumps(took) + "\\n").encode())
"""

Note = tuple[int, int, int, str]
"""From when to when, in which thread, and what."""


def write_module(folder: Path) -> Path:
    """Write the module `noted`, by which code there is late; where its notes will be."""
    notes = folder / "notes.jsonl"
    (folder / "noted.py").write_text(MODULE.format(path=str(notes)))
    return notes


def read_notes(path: Path) -> list[Note]:
    """All that was noted."""
    return [msgspec.json.decode(line, type=Note) for line in path.read_bytes().splitlines()]


def as_noted(
    folder: Path, counted: Ledger, notes: Sequence[Note], *, stage: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """How long the stage took of each request of the ledger by the notes, and its part of that
    where several requests share the work.

    Every span of the stage is around one note: that of its thread.
    """
    by_thread = defaultdict(list)
    for start_ns, end_ns, thread, what in sorted(notes):
        if what == stage:
            by_thread[thread].append((start_ns, end_ns))
    whole, part = dict[str, int](), dict[str, float]()
    for told in records.read_told(folder):
        if told.stage == stage:
            own = by_thread[told.thread]
            start_ns, end_ns = own[bisect.bisect(own, (told.start_ns,))]
            assert told.start_ns <= start_ns <= end_ns <= told.end_ns, told
            for id in told.ids:
                whole[id] = end_ns - start_ns
                part[id] = whole[id] / len(told.ids)
    id_of = {one.due_ns: one.id for one in records.read_requests(folder)}
    ids = [id_of[due_ns] for due_ns in counted.due_ns.tolist()]
    return np.array([whole[id] for id in ids]), np.array([part[id] for id in ids])
