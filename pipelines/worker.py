"""A stage of a chain as a process of its own: `python -m pipelines.worker`.

It takes work at least once, and waits for a broker that is away.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from pipelines import processes, tasks
from pipelines.brokers import BROKERS, Broker, broker
from pipelines.engines.choose import engine
from pipelines.errors import BrokerError, VisiontaxError, complaint
from pipelines.servers import malloc
from pipelines.topologies.brokered.messages import STAGES
from pipelines.topologies.brokered.stages import First, Second
from pipelines.topologies.scenario import Setup
from pipelines.topologies.setting import SERVER, click_options

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
        there: bool | None = None
        while not self.stopping:
            try:
                if not held:
                    wait_s = WAIT_S if there else 0.0
                    held = self.link.take(self.stage.topic, most=self.stage.most, wait_s=wait_s)
                    taken_ns = time.monotonic_ns()
                    if not there:
                        self._say("ready")
                        self.mark(ready=True)
                    there = True
                self.stage.work(held, taken_ns=taken_ns)
                held = []
            except BrokerError as error:
                if there is not False:
                    self._say(f"waiting for the broker: {error}")
                    self.mark(ready=False)
                there = False
                time.sleep(_AGAIN_S)

    def stop(self) -> None:
        """Finish what was taken, then end."""
        self.stopping = True

    def mark(self, *, ready: bool) -> None:
        """The file is there while the broker is, for a container's health check."""
        if self.ready_file and ready:
            self.ready_file.touch()
        elif self.ready_file:
            self.ready_file.unlink(missing_ok=True)

    def _say(self, what: str) -> None:
        print(f"{self.name}: {what}", file=sys.stderr, flush=True)


@click.command(
    params=click_options(
        Setup,
        without=("pipeline", "grpc_port", "only"),
        topology={"type": click.Choice(list(BROKERS))},
        server={"type": SERVER, "help": "HTTP address of a running Triton."},
    )
)
@click.argument("chain", type=click.Choice([chain.name for chain in tasks.chains()]))
@click.argument("stage", type=click.Choice(STAGES))
@click.option("--scenario", hidden=True, help="All settings, as one JSON document.")
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that is there while the broker answers.",
)
def command(
    chain: str, stage: str, scenario: str | None, ready_file: Path | None, **chosen: Any
) -> None:
    """Work as one stage of a chain until SIGTERM or Ctrl-C."""
    malloc.keep_freed()
    if scenario:
        setup = msgspec.json.decode(scenario, type=Setup)
        server = setup.asked_at
    else:
        given = {name: value for name, value in chosen.items() if value is not None}
        setup = Setup(pipeline=chain, **given)
        server = setup.server or ""
    setup.check()
    setup.check_broker()
    if setup.traced and not server:
        raise VisiontaxError("it is not said where Triton is", hint="say it with --server")
    link = broker(str(setup.topology), str(setup.broker))
    ask = engine(
        setup.transport, server, service_s=setup.service_s, service_times=setup.service_times
    )
    worker = (First if stage == "first" else Second)(link, ask, setup)
    loop = Loop(link, worker, f"{stage} stage of {chain}", ready_file)
    processes.end_on_signals(loop.stop)
    try:
        loop.run()
    finally:
        loop.mark(ready=False)
        for open_one in (worker, link, ask):
            open_one.close()


if __name__ == "__main__":
    try:
        command()
    except VisiontaxError as error:
        sys.exit(complaint(error))
