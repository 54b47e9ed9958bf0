"""What a generator process holds while a run goes on."""

import itertools
from pathlib import Path

from locust.runners import Runner

from bench.generator.dispatcher import Dispatcher
from bench.generator.recorder import Recorder
from bench.generator.schedules.pictures import Draw
from bench.generator.session import Session
from bench.generator.steering.division import Division, Told
from bench.generator.steering.run_time import RunTime
from bench.generator.turns import Turns
from bench.generator.watching.away import Away
from bench.generator.watching.in_flight import InFlight
from bench.record.folders import RESULTS
from bench.record.scenario import Settings
from pipelines.servers import triton


class Going:
    """What this generator process holds while a run goes on; `images` are read from `paths`."""

    def __init__(self) -> None:
        self.server: triton.Server | None = None
        self.asked: Settings | None = None
        """What this run is of; the web page may ask for another one meanwhile."""
        self.run_time: RunTime | None = None
        self.session: Session | None = None
        self.recorder: Recorder | None = None
        self.results = RESULTS
        """Where this process, if a worker elsewhere, makes its folder: what it was started with."""
        self.away: Away | None = None
        """Of a worker that records in a folder of its own."""
        self.in_flight: InFlight | None = None
        self.turns = Turns()
        self.dispatcher: Dispatcher | None = None
        self.draw: Draw | None = None
        """Of which pipeline a request is, and about which image."""
        self.numbers = itertools.count()
        """Of the requests of a closed loop."""
        self.images: list[bytes] = []
        self.paths: list[Path] = []
        self.opened = False
        self.open, self.begun = False, False
        self.runner: Runner | None = None
        self.told: Told | None = None
        """The part of the schedule that this process has, None before it is told."""
        self.division: Division | None = None
        self.broken = 0
        """The exit code of a load that had to end, 0 of one that had not."""
        self.refused: Runner | None = None


going = Going()
