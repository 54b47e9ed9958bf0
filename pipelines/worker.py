"""A stage of a chain as a process of its own: `python -m pipelines.worker`.

It takes work at least once, and waits for a broker that is away.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from pipelines import tasks
from pipelines.brokers import BROKERS, Broker, broker
from pipelines.engines.choose import TRANSPORTS, engine
from pipelines.errors import BrokerError, VisiontaxError
from pipelines.preprocess.ways import WAYS
from pipelines.servers import malloc
from pipelines.topologies.brokered import messages
from pipelines.topologies.brokered.packing import Packing
from pipelines.topologies.brokered.stages import First, Second
from pipelines.topologies.choose import PLACES
from pipelines.topologies.steps import MOST_CROPS

WAIT_S = 0.5
_AGAIN_S = 0.5


@dataclass
class Loop:
    """Takes work until told to stop; a broker that is away is waited for, and that is said."""

    link: Broker
    stage: First | Second
    name: str
    ready_file: Path | None = None
    stopping: bool = False

    def run(self) -> None:
        """Say "ready" when the broker has answered for the first time, then work.

        When the broker goes away before it has what came of the work, that is done once more: what
        was taken is acknowledged by taking again.
        """
        held: list[bytes] = []
        ready = away = False
        while not self.stopping:
            try:
                if not held:
                    held = self.link.take(
                        self.stage.topic, most=self.stage.most, wait_s=WAIT_S * ready
                    )
                    taken_ns = time.monotonic_ns()
                    if not ready or away:
                        self._say("ready")
                        self.mark(ready=True)
                    ready, away = True, False
                self.stage.work(held, taken_ns=taken_ns)
                held = []
            except BrokerError as error:
                if not away:
                    self._say(f"waiting for the broker: {error}")
                    self.mark(ready=False)
                away = True
                time.sleep(_AGAIN_S)

    def stop(self, *_: object) -> None:
        """Finish what was taken, then end."""
        self.stopping = True

    def mark(self, *, ready: bool) -> None:
        """The file is there while the broker is, for a container's health check."""
        if self.ready_file is None:
            return
        if ready:
            self.ready_file.touch()
        else:
            self.ready_file.unlink(missing_ok=True)

    def _say(self, what: str) -> None:
        print(f"{self.name}: {what}", file=sys.stderr, flush=True)


@click.command()
@click.argument("chain", type=click.Choice([chain.name for chain in tasks.chains()]))
@click.argument("stage", type=click.Choice(messages.STAGES))
@click.option("--topology", type=click.Choice(list(BROKERS)), required=True)
@click.option("--broker-url", required=True, help="host:port of the broker.")
@click.option("--server", required=True, help="host:port of Triton, for the transport.")
@click.option("--transport", type=click.Choice(list(TRANSPORTS)), default="http")
@click.option("--preprocess", type=click.Choice(list(WAYS)), default="opencv")
@click.option("--place", type=click.Choice(PLACES), default="server")
@click.option("--crops", type=click.Choice(messages.FORMS), default="raw")
@click.option("--claims-url", help="host:port of the Redis that keeps crops sent by reference.")
@click.option(
    "--batch", type=click.IntRange(1, MOST_CROPS), default=8, help="Most crops at a time."
)
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that is there while the broker answers.",
)
def command(
    chain: str,
    stage: str,
    topology: str,
    broker_url: str,
    server: str,
    transport: str,
    preprocess: str,
    place: str,
    crops: str,
    claims_url: str | None,
    batch: int,
    ready_file: Path | None,
) -> None:
    """Work as one stage of a chain until SIGTERM or Ctrl-C."""
    malloc.keep_freed()
    link, ask = broker(topology, broker_url), engine(transport, server)
    packing = Packing(crops, claims_url=claims_url)
    known = tasks.chain(chain)
    worker: First | Second
    if stage == "first":
        worker = First(link, ask, known, way=preprocess, place=place, packing=packing)
    else:
        worker = Second(link, ask, known, packing=packing, most=batch)
    loop = Loop(link, worker, f"{stage} stage of {chain}", ready_file)
    signal.signal(signal.SIGTERM, loop.stop)
    signal.signal(signal.SIGINT, loop.stop)
    try:
        loop.run()
    finally:
        loop.mark(ready=False)
        for open_one in (packing, link, ask):
            open_one.close()


if __name__ == "__main__":
    try:
        command()
    except VisiontaxError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        sys.exit(f"error: {error}{hint}")
