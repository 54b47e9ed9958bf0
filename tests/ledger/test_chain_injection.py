"""Accuracy of a chain's ledger: a crop that comes late from the broker is found in `broker`."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chains import changed, says, worker
from injection import LateProxy
from processes import TIMEOUT_S
from runs import load
from test_injection import assert_found, turns_and_ledger

from bench.ledger.attribution.table import Ledger
from bench.prepare.images.sets import build_images
from bench.record import scenario
from bench.runs.run import Plan
from pipelines.servers import control, triton
from pipelines.servers.redis import start_redis
from pipelines.topologies import choose
from pipelines.topologies.brokered.messages import STAGES

_CROP = re.compile(rb"\x96[\xa0-\xbf][0-9a-f]{12}-(\d+)")
"""How the message about a crop begins: an array of six, and first the request it is of."""


class LateForOdd(LateProxy):
    """Is late with the one crop of each second request, by the request's number."""

    def hold(self, data: bytes) -> None:
        """As LateProxy."""
        if about := _CROP.search(data):
            self.turn = int(about[1])
            super().hold(data)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """A Redis in which nothing is left of other tests."""
    with start_redis(tmp_path / "redis") as started:
        started.wait_ready()
        yield started.url


def test_a_late_broker_is_found_in_broker(
    triton: triton.Server, redis: str, tmp_path: Path
) -> None:
    (images,) = build_images(tmp_path, count=1, sets=["faces-1"])  # whose decoding takes the same
    settings = scenario.Settings(
        pipeline="faces",
        images=str(images),
        topology="redis-streams",
        server=triton.url,
        broker=redis,
        warmup_s=0.3,
    )
    control.load(triton.url, choose.models(settings))
    port = int(str(settings.broker).rpartition(":")[2])

    def made(enough: int) -> tuple[np.ndarray, Ledger]:
        planned = Plan(settings, duration_s=TIMEOUT_S, results=tmp_path / f"{enough}")
        first, second = logs = [tmp_path / f"{stage}-{enough}" for stage in STAGES]
        with (
            LateForOdd(port, mark=b"", back=True) as late,
            worker(settings, "first", log=first),
            worker(changed(settings, broker=late.url), "second", log=second),
        ):
            for log in logs:
                says(log, "ready")
            folder = load(planned, enough=enough)
            late.shutdown()
        return turns_and_ledger(folder)

    assert_found(made, stage="broker", others=0.2)  # inference of two DNNs varies
