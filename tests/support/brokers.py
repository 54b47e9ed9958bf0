"""Real brokers for the tests; run as a program, a taker (see `taker`)."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from need import need
from processes import TIMEOUT_S

from bench.runs.equipment import SERVICE_OF, SERVICES
from pipelines.brokers import BROKERS, Broker, broker
from pipelines.brokers.redis import connect
from pipelines.servers import kafka
from pipelines.servers.service import Service

PROGRAM = (sys.executable, __file__)
QUICK_JAVA = (*kafka.JAVA, "-XX:TieredStopAtLevel=1")
"""For a Kafka that lives some seconds: it compiles less, and its start takes half the work."""


class Services:
    """Services that are started when a test first needs them, and can be killed and revived."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Service] = {}

    def url(self, name: str) -> str:
        """Where the service is."""
        if name == "kafka":
            need("java", "kafka")
        if name not in self._running:
            self._start(name, None)
        if self._running[name].process.poll() is not None:
            self.revive(name)  # a test failed before it could
        return self._running[name].url

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """The running process of a service."""
        return self._running[name].process

    def kill(self, name: str) -> None:
        """End the service as a crash would."""
        self._running[name].process.kill()
        self._running[name].process.wait()

    def revive(self, name: str) -> None:
        """Start a killed service where it was."""
        self._start(name, self._running[name].port)

    def _start(self, name: str, port: int | None) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kafka, "JAVA", QUICK_JAVA)
            # After a crash Kafka waits for so long before it serves again.
            patch.setitem(kafka.PROPERTIES, "broker.session.timeout.ms", "3000")
            patch.setitem(kafka.PROPERTIES, "broker.heartbeat.interval.ms", "500")
            running = SERVICES[name](self._folder, port)
        running._start_timeout_s = TIMEOUT_S
        running.wait_ready()
        self._running[name] = running

    def empty(self) -> None:
        """Have nothing in Redis."""
        if "redis" in self._running and self._running["redis"].process.poll() is None:
            with connect(self._running["redis"].url) as redis:
                redis.flushall()

    def stop(self) -> None:
        """Stop all. Nobody needs their data: asked to end, Kafka would take its time."""
        for running in self._running.values():
            running.process.kill()
            running.stop()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The services that the tests share."""
    made = Services(tmp_path_factory.mktemp("brokers"))
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def no_leftovers(request: pytest.FixtureRequest) -> None:
    """No test finds in a broker what another left there."""
    if "running" in request.fixturenames:
        request.getfixturevalue("running").empty()


@pytest.fixture(params=list(BROKERS))
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of broker."""
    return str(request.param)


@pytest.fixture
def url(running: Services, kind: str) -> str:
    """Where a broker of this kind is."""
    return running.url(SERVICE_OF[kind])


Link = Callable[..., Broker]


@pytest.fixture
def link(kind: str, url: str) -> Iterator[Link]:
    """Makes connections to the broker, which are closed after the test."""
    made: list[Broker] = []

    def new(*, takeover_s: float = 5.0) -> Broker:
        made.append(broker(kind, url, takeover_s=takeover_s))
        return made[-1]

    yield new
    for each in made:
        each.close()


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic that no other test uses."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name) + f"-{time.time_ns()}"


def take_all(taker: Broker, topic: str, count: int, *, timeout_s: float = TIMEOUT_S) -> list[bytes]:
    """Take until there were `count` messages, and fail if they do not come."""
    taken: list[bytes] = []
    until = time.monotonic() + timeout_s
    while len(taken) < count:
        assert time.monotonic() < until, f"only {len(taken)} of {count} messages came"
        taken += taker.take(topic, most=64, wait_s=0.5)
    return taken


def numbered(count: int) -> list[bytes]:
    """Messages that differ."""
    return [b"%d" % number for number in range(count)]


def taker(kind: str, url: str, topic: str, takeover_s: str, takes: str) -> None:
    """Print what each take gives on a line; after `takes` of them hold the last and ask no more."""
    own = broker(kind, url, takeover_s=float(takeover_s))
    left = int(takes)
    while left:
        taken = own.take(topic, most=16, wait_s=0.5)
        if taken:
            left -= 1
            print(*(message.decode() for message in taken), flush=True)
    time.sleep(3600)


if __name__ == "__main__":
    taker(*sys.argv[1:])
