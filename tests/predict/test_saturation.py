"""What saturates is named right, whichever resource was made the bottleneck."""

from __future__ import annotations

from typing import Any

import pytest
from causes import CHAIN, MIX, STEPS, run

from bench.predict.points import Measured
from bench.predict.saturation import (
    BOUND,
    BROKER,
    GENERATOR,
    INFERENCE,
    NETWORK,
    PREPROCESSING,
    SERVER,
    saturation,
)

DNN, PREPROCESS = STEPS
OPEN = {"schedule": "100/s poisson", "users": 64}
HOPS = {"publish": 0.5, "broker": 1.0, "consume": 0.5}


def measured(
    load: float,
    stages: dict[str, float] | None = None,
    /,
    waits: dict[str, float] | None = None,
    **changes: Any,
) -> Measured:
    return Measured(load, run(stages, **OPEN | changes), waits or {})


LOW = measured(50, waits={DNN: 0.3, PREPROCESS: 0.3})


@pytest.mark.parametrize(
    ("high", "resource", "where"),
    [
        (measured(300, {"queue": 90.0}, {DNN: 80.0, PREPROCESS: 10.0}), INFERENCE, DNN),
        (measured(300, {"queue": 90.0}, {DNN: 5.0, PREPROCESS: 85.0}), PREPROCESSING, PREPROCESS),
        (measured(300, {"decode": 60.0, "queue": 9.0}, {DNN: 9.0}), PREPROCESSING, ""),
        (measured(300, {"send": 70.0, "receive": 30.0, "queue": 5.0}, {DNN: 5.0}), NETWORK, ""),
        (measured(300, {"schedule": 70.0}), GENERATOR, ""),
        (measured(300, {"queue": 40.0}, {DNN: 40.0}, generator_cpu_share=0.97), GENERATOR, ""),
        (measured(300, {"queue": 900.0}, {DNN: 0.5, PREPROCESS: 0.5}), BOUND, ""),
        # The server got slower too: that is why requests wait before it.
        (measured(300, {"queue": 900.0}, {DNN: 80.0, PREPROCESS: 2.0}), INFERENCE, DNN),
    ],
)
def test_the_bottleneck_is_named(high: Measured, resource: str, where: str) -> None:
    found = saturation(LOW, high)
    assert found
    assert (found.resource, found.where) == (resource, where)
    assert found.to_ms > found.from_ms or resource == GENERATOR
    assert 0 <= found.share <= 1


@pytest.mark.parametrize(
    ("worked", "resource"),
    [
        ({}, BROKER),  # workers have next to nothing to do, so it is not for them that it waits
        ({"inference": 9.0}, INFERENCE),
        ({"decode": 9.0}, PREPROCESSING),
    ],
)
def test_in_a_broker_it_is_told_who_is_waited_for(worked: dict[str, float], resource: str) -> None:
    """60 requests a second: with 15 ms of work each the one worker of the first stage has no time
    left.
    """
    chain = CHAIN | {"broker_share": 0.9, "workers": (1, 1)}
    idle = dict.fromkeys(MIX, 0.1) | worked
    low = measured(10, idle | HOPS, **chain)
    high = measured(60, idle | HOPS | {"broker": 300.0}, throughput_per_s=90.0, **chain)
    found = saturation(low, high)
    assert found
    assert found.resource == resource
    assert found.share > 0.9
    assert found.to_ms > 300


def test_a_server_that_tells_nothing_is_one_resource() -> None:
    alone = {"server": 10.0, "queue": 0.0, "inference": 0.0, "decode": 0.0}
    found = saturation(measured(5, alone), measured(50, alone | {"server": 99.0}))
    assert found
    assert found.resource == SERVER


def test_what_did_not_get_slower_does_not_saturate() -> None:
    assert saturation(LOW, measured(60, waits={DNN: 0.3, PREPROCESS: 0.3})) is None
    assert saturation(LOW, measured(60, {"inference": 5.0}, waits={DNN: 0.3})) is None
