"""What a load generator is told, as one JSON document: the scenario, and where its run goes."""

import msgspec

from bench.record.folders import RESULTS
from bench.record.scenario import Settings
from pipelines.paths import REPOSITORY


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a load generator.

    `folder` is the run's, empty where one is to be made in `results`.
    `repository` is the model repository that the server serves.
    A load that is not `recorded` is only counted; one that is `paused` waits for its turn.
    `workers` are the pids of the chain's workers, where they are known.
    """

    scenario: Settings
    folder: str = ""
    results: str = str(RESULTS)
    repository: str = str(REPOSITORY)
    recorded: bool = True
    paused: bool = False
    workers: list[int] = []
