"""On the real server next to nothing is left without a stage, with one user and with many."""

import numpy as np
import pytest

from bench.ledger.attribution import ledger, records_of
from bench.ledger.reading import summary_of
from bench.record import records, scenario, trace
from bench.runs.run import Plan, execute

pytestmark = [pytest.mark.alone, pytest.mark.triton]


@pytest.mark.parametrize(
    ("changes", "other_at_most"),
    [
        ({"preprocess": "opencv", "transport": "http"}, 0.01),
        ({"preprocess": "opencv", "transport": "http", "users": 16}, 0.02),
        ({"preprocess": "pillow", "place": "client", "transport": "grpc", "users": 16}, 0.02),
        ({"preprocess": "dali", "transport": "shm"}, 0.01),
    ],
)
def test_other_is_small_and_the_shares_sum_to_one(triton, tmp_path, changes, other_at_most) -> None:
    settings = scenario.Settings(server=triton.url, warmup_s=0.5, **changes)
    folder = execute(Plan(settings, duration_s=1.5, results=tmp_path))
    found = summary_of(folder)
    assert found.errors == 0
    assert found.other_share is not None
    assert found.other_share <= other_at_most
    assert sum(stage.share for stage in found.stages.values()) == pytest.approx(1, abs=1e-12)
    counted = ledger(
        records_of(records.read_requests(folder)),
        trace.read(folder),
        stages=records.read_manifest(folder).stages,
        apportion=records.read_apportion(folder),
    )
    assert np.array_equal(counted.time_ns.sum(axis=1), counted.latency_ns)
    assert ("decode" in counted.apportioned) == (settings.preprocess == "dali")


def test_decode_dominates_a_large_image(triton, tmp_path) -> None:
    shares = {}
    for images in ("small", "large"):
        settings = scenario.Settings(images=images, server=triton.url, warmup_s=0.5)
        found = summary_of(execute(Plan(settings, duration_s=2.5, results=tmp_path)))
        shares[images] = found.stages["decode"].share
        largest = max(found.stages, key=lambda name: found.stages[name].share)
        assert largest == {"small": "inference", "large": "decode"}[images]
    assert shares["large"] > 10 * shares["small"]
