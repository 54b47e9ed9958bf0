"""The options of `locust -f bench/load.py` that Locust has no name of its own for."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import msgspec
from locust.env import Environment

from bench.generator.setup import setup_of
from bench.record.folders import RESULTS
from bench.record.scenario import Settings, seconds, workers_of
from pipelines import tasks
from pipelines.engines.choose import TRANSPORTS, endpoint
from pipelines.paths import REPOSITORY
from pipelines.preprocess.ways import WAYS
from pipelines.topologies.brokered.messages import FORMS
from pipelines.topologies.choose import DEFAULT_TOPOLOGY, PLACES, TOPOLOGIES, Setup

DEFAULT_SERVER = "127.0.0.1:8000"


class Options(msgspec.Struct):
    """What the user asked for. `run_folder` is the master's to tell.

    Locust hands the parsed options on from the master to its workers.
    """

    pipeline: str
    images: str
    preprocess: str
    place: str
    transport: str
    warmup: str
    results: str
    seed: int
    grpc_port: int
    start_server: bool
    topology: str | None
    broker_url: str | None
    crops: str
    claims_url: str | None
    workers: str
    batch: int
    run_folder: str
    repository: str
    no_record: bool
    paused: bool
    host: str | None = None
    headless: bool | None = None
    num_users: int | None = None

    @property
    def server(self) -> str | None:
        """The server's HTTP address, host:port; for the fake engine its service time, if given."""
        if self.transport == "fake":
            return self.host
        return (self.host or DEFAULT_SERVER).removeprefix("http://").rstrip("/")

    @property
    def engine_url(self) -> str:
        """The address that the transport itself talks to."""
        return endpoint(self.transport, self.server or "", grpc_port=self.grpc_port)

    @property
    def setup(self) -> Setup:
        """What the pipeline is made of."""
        return dataclasses.replace(setup_of(self.settings(users=1)), url=self.engine_url)

    @property
    def chosen_topology(self) -> str | None:
        """The topology; a chain has one also when none was asked for."""
        return self.topology or (DEFAULT_TOPOLOGY if tasks.is_chain(self.pipeline) else None)

    def settings(self, *, users: int) -> Settings:
        """Return what goes into the manifest."""
        return Settings(
            pipeline=self.pipeline,
            images=self.images,
            preprocess=self.preprocess,
            place=self.place,
            transport=self.transport,
            users=users or self.num_users or 1,
            warmup_s=seconds(self.warmup),
            server=self.server,
            seed=self.seed,
            topology=self.chosen_topology,
            broker=self.broker_url,
            crops=self.crops,
            claims=self.claims_url,
            workers=workers_of(self.workers),
            batch=self.batch,
        )

    def check(self) -> None:
        """Raise VisiontaxError when a value makes no sense."""
        self.setup.check()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add our options to Locust's, under the names of `bench run`."""
    add = parser.add_argument  # a group's options would be missing from Locust's web page
    add("--pipeline", default="classification", choices=tasks.PIPELINES)
    add("--images", default="medium", help="small, medium, large or a folder")
    add("--preprocess", default="opencv", choices=sorted(WAYS))
    add("--place", default="server", choices=PLACES)
    add("--transport", default="http", choices=sorted(TRANSPORTS))
    add("--warmup", default="2s", help="how long not to measure at first")
    add("--results", default=str(RESULTS), help="where the run's folder goes")
    add("--topology", choices=TOPOLOGIES, help="of a chain; default: direct")
    add("--broker-url", help="host:port of the topology's broker")
    add("--crops", default="raw", choices=FORMS, help="how the workers send crops: recorded only")
    add("--claims-url", help="host:port of the Redis of crops by reference: recorded only")
    add("--workers", default="1,1", help="how many of each stage there are: recorded only")
    add("--batch", type=int, default=8, help="most crops a second stage takes: recorded only")
    add("--seed", type=int, default=1, help="of the order of the images")
    add("--grpc-port", type=int, default=0, help="default: HTTP's plus one")
    add("--start-server", action="store_true", help="start the embedded Triton for this run")
    hidden: dict[str, Any] = {"help": argparse.SUPPRESS, "include_in_web_ui": False}
    add("--run-folder", default="", **hidden)
    add("--repository", default=str(REPOSITORY), **hidden)
    add("--no-record", action="store_true", **hidden)
    add("--paused", action="store_true", **hidden)


def options_of(environment: Environment) -> Options:
    """Return the options as Locust parsed them, or as its master or web page changed them."""
    options = msgspec.convert(vars(environment.parsed_options), Options, strict=False)
    options.host = environment.host or options.host
    return options


def tell(environment: Environment, *, folder: Path | None) -> None:
    """Have the master's next message to its workers say where they record."""
    parsed = environment.parsed_options
    assert parsed is not None
    parsed.run_folder = str(folder or "")
