"""Ends a probe once it is clear whether it holds its objective, by the records as they come."""

import time
from collections import Counter
from pathlib import Path

import numpy as np

from bench.generator.schedules.schedule import count, schedule_of
from bench.generator.session import COOLDOWN_NS
from bench.predict.held import Objective, is_clear
from bench.predict.points import in_order, latency_ms
from bench.record import records
from bench.record.manifest import MANIFEST, Manifest, read_manifest

FIRST_S = 3.0
MORE = 1.4
"""It looks after so many seconds of measurement, and again when they have grown so much."""

WRITTEN_S = 0.6
"""How long a request that is over may not be on record yet."""


class Early:
    """Whether what is in a run's folder is enough."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._look_s = FIRST_S
        self._places: Counter[Path] = Counter()
        self._told: list[tuple[int, float]] = []
        self._over = False

    def __call__(self, folder: Path) -> bool:
        """Look, where it is time. A request that is due and on no record by now is late."""
        if self._over or not (folder / MANIFEST).exists():
            return False
        manifest = read_manifest(folder)
        measured_s = (time.monotonic_ns() - manifest.window_start_ns) / 1e9
        if measured_s < self._look_s:
            return False
        self._look_s = measured_s * MORE
        # When the run is ended now, its last second does not count: nor does it here.
        known_s = measured_s - max(self._objective.slowest_ms / 1e3 + WRITTEN_S, COOLDOWN_NS / 1e9)
        self._over = known_s > 0 and self._is_clear(folder, manifest, round(known_s * 1e9))
        return self._over

    def _is_clear(self, folder: Path, manifest: Manifest, known_ns: int) -> bool:
        start_ns = manifest.window_start_ns
        self._told += [
            (one.due_ns, latency_ms(one))
            for one in records.read_requests(folder, places=self._places)
        ]
        window = [one for one in self._told if start_ns <= one[0] < start_ns + known_ns]
        schedule = schedule_of(manifest.settings)
        assert schedule is not None
        opened_ns = round(manifest.settings.warmup_s * 1e9)
        due = count(schedule, start_ns=opened_ns, end_ns=opened_ns + known_ns)
        lacking = np.full(max(0, due - len(window)), np.inf)
        return is_clear(self._objective, np.concatenate([in_order(window), lacking]))
