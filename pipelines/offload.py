"""Client-side preprocessing on a pool of real threads, so that one user's decoding does not hold up
the clocks of all the others in a gevent load generator.
"""

from __future__ import annotations

import os
import threading
import time

import gevent
from gevent.threadpool import ThreadPool

from pipelines.preprocess import Tensor, preprocessor
from pipelines.spans import Span

_pools: dict[int, ThreadPool] = {}


class Offloaded:
    """A Preprocessor that runs another one on as many threads as there are cores.

    Waiting for a thread, and for the generator to take notice of its end, is `queue`.
    """

    def __init__(self, way: str) -> None:
        preprocessor(way)  # fails here and now if the way is unknown
        self._way = way
        self._local = threading.local()

    def __call__(self, data: bytes) -> tuple[Tensor, list[Span]]:
        asked = time.monotonic_ns()
        tensor, spans = _pool().apply(self._run, (data,))
        noticed = time.monotonic_ns()
        waits = [
            Span("queue", asked, spans[0].start_ns, "client"),
            Span("queue", spans[-1].end_ns, noticed, "client"),
        ]
        return tensor, [*waits, *spans]

    def _run(self, data: bytes) -> tuple[Tensor, list[Span]]:
        if not hasattr(self._local, "preprocess"):
            self._local.preprocess = preprocessor(self._way)
        result: tuple[Tensor, list[Span]] = self._local.preprocess(data)
        return result


def _pool() -> ThreadPool:
    """One pool a process, made after any fork."""
    pid = os.getpid()
    if pid not in _pools:
        _pools.clear()
        _pools[pid] = ThreadPool(len(os.sched_getaffinity(0)), hub=gevent.get_hub())
    return _pools[pid]
