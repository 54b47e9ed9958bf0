"""On the real server next to nothing is left without a stage, with one user and with many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import TIMEOUT_S
from runs import enough

from bench.ledger.attribution.columns import records_of
from bench.ledger.attribution.ledger import ledger
from bench.ledger.attribution.table import COLUMNS
from bench.ledger.reading import read, summary_of
from bench.record import records, trace
from bench.record.manifest import read_manifest
from bench.record.scenario import Settings
from bench.runs.run import Plan, execute
from pipelines.servers import triton
from pipelines.spans import OTHER

pytestmark = pytest.mark.triton


def run(folder: Path, **settings: Any) -> Path:
    """A run that lasts until some requests of each user count."""
    chosen = Settings(warmup_s=0.2, **settings)
    planned = Plan(chosen, duration_s=TIMEOUT_S, results=folder)
    return execute(planned, enough=enough(30 + 2 * chosen.users))


@pytest.mark.parametrize(
    ("changes", "other_at_most"),
    [
        ({"preprocess": "opencv", "transport": "http"}, 0.01),
        ({"preprocess": "opencv", "transport": "http", "users": 16}, 0.02),
        ({"preprocess": "pillow", "place": "client", "transport": "grpc", "users": 16}, 0.02),
        ({"preprocess": "dali", "transport": "shm"}, 0.01),
    ],
)
def test_other_is_small_and_the_shares_sum_to_one(
    triton: triton.Server, tmp_path: Path, changes: dict[str, Any], other_at_most: float
) -> None:
    folder = run(tmp_path, server=triton.url, **changes)
    found = summary_of(folder)
    assert found.errors == 0
    assert sum(stage.share for stage in found.stages.values()) == pytest.approx(1, abs=1e-12)
    counted = ledger(
        records_of(records.read_requests(folder)),
        trace.read(folder),
        stages=read_manifest(folder).stages,
        apportion=records.read_apportion(folder),
    )
    assert np.array_equal(counted.time_ns.sum(axis=1), counted.latency_ns)
    # The median: on a busy machine single requests wait for a core where no span is.
    others = counted.time_of(OTHER) / counted.latency_ns
    assert np.median(others) <= other_at_most
    assert ("decode" in counted.apportioned) == (changes["preprocess"] == "dali")


def test_decode_dominates_a_large_image(triton: triton.Server, tmp_path: Path) -> None:
    shares = {}
    for images in ("small", "large"):
        told = read(run(tmp_path, images=images, server=triton.url)).ledger
        # Lower quartiles: on a busy machine requests wait for a core in any stage.
        usual = dict(zip(COLUMNS, np.quantile(told.time_ns, 0.25, axis=0), strict=True))
        shares[images] = usual["decode"] / sum(usual.values())
        largest = max(usual, key=usual.__getitem__)
        assert largest == {"small": "inference", "large": "decode"}[images]
    assert shares["large"] > 10 * shares["small"]
