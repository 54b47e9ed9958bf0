"""What a load generator is told, as one JSON document: the scenario, and where its run goes."""

import msgspec

from bench.record.folders import RESULTS
from bench.record.manifest import Source
from bench.record.scenario import Settings
from pipelines.paths import REPOSITORY


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of such a server: the stage of each model, and where the run comes from."""

    stages: dict[str, str]
    source: Source


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a load generator.

    `folder` is the run's, empty where one is to be made in `results`.
    `repository` is the model repository that the server serves.
    A load that is `paused` waits for its turn.
    `workers` are the pids of the chain's workers, where they are known.
    `attached` is None but of a server that is only attached to: nothing of it is changed, and its
    trace is not this load's to fetch.
    """

    scenario: Settings
    folder: str = ""
    results: str = str(RESULTS)
    repository: str = str(REPOSITORY)
    paused: bool = False
    workers: list[int] = []
    attached: Attached | None = None
