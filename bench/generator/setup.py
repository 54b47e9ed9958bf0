"""From a scenario to what its pipeline is made of."""

from __future__ import annotations

from bench.record.scenario import Settings
from pipelines.topologies import choose


def setup_of(settings: Settings, *, broker: str | None = None) -> choose.Setup:
    """Return what the pipeline of a run is made of."""
    return choose.Setup(
        pipeline=settings.pipeline,
        way=settings.preprocess,
        place=settings.place,
        transport=settings.transport,
        url=settings.server or "",
        topology=settings.topology,
        broker_url=settings.broker or broker,
    )
