"""A stage of a chain as a process of its own: `python -m pipelines.worker`.

It takes work at least once, and waits for a broker that is away.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass

import click

from pipelines import memory, messages, tasks
from pipelines.asking import MOST_CROPS
from pipelines.brokers import BROKERS, Broker, broker
from pipelines.crops import Packing
from pipelines.engine import TRANSPORTS, engine
from pipelines.errors import BrokerError
from pipelines.preprocess import WAYS
from pipelines.stages import First, Second

WAIT_S = 0.5
_AGAIN_S = 0.5


@dataclass
class Loop:
    """Takes work until told to stop; a broker that is away is waited for, and that is said."""

    link: Broker
    stage: First | Second
    name: str
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
                    ready, away = True, False
                self.stage.work(held, taken_ns=taken_ns)
                held = []
            except BrokerError as error:
                if not away:
                    self._say(f"waiting for the broker: {error}")
                away = True
                time.sleep(_AGAIN_S)

    def stop(self, *_: object) -> None:
        """Finish what was taken, then end."""
        self.stopping = True

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
@click.option("--place", type=click.Choice(("server", "client")), default="server")
@click.option("--crops", type=click.Choice(messages.FORMS), default="raw")
@click.option("--claims-url", help="host:port of the Redis that keeps crops sent by reference.")
@click.option(
    "--batch", type=click.IntRange(1, MOST_CROPS), default=8, help="Most crops at a time."
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
) -> None:
    """Work as one stage of a chain until SIGTERM or Ctrl-C."""
    memory.keep_freed()
    link, ask = broker(topology, broker_url), engine(transport, server)
    packing = Packing(crops, claims_url=claims_url)
    known = tasks.chain(chain)
    worker: First | Second
    if stage == "first":
        worker = First(link, ask, known, way=preprocess, place=place, packing=packing)
    else:
        worker = Second(link, ask, known, packing=packing, most=batch)
    loop = Loop(link, worker, f"{stage} stage of {chain}")
    signal.signal(signal.SIGTERM, loop.stop)
    signal.signal(signal.SIGINT, loop.stop)
    try:
        loop.run()
    finally:
        for open_one in (packing, link, ask):
            open_one.close()


if __name__ == "__main__":
    command()
