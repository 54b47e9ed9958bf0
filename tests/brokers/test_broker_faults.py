"""What becomes of messages when takers are killed and brokers go away; and how services end."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from brokers import PROGRAM, SERVICE_OF, Link, Services, take_all
from need import need
from processes import TIMEOUT_S, environment, family, until, wait_gone

from pipelines.brokers import BROKERS, broker, kafka_topics
from pipelines.brokers import kafka as kafka_client
from pipelines.brokers.claims import Claims
from pipelines.errors import BrokerError, ServerError
from pipelines.processes import Child
from pipelines.servers import kafka
from pipelines.servers.kafka import start_kafka
from pipelines.servers.memory_broker import start_memory
from pipelines.servers.redis import start_redis
from pipelines.servers.service import Service

TAKEOVER_S = 6.0
"""Longer than a machine that is busy holds up a taker, which would count as gone."""

MESSAGES = 4_000


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Kafka's clients give up soon, meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (kafka_client, kafka_topics):
            patch.setattr(module, "PATIENCE_S", 1.5)
        yield


class Taker:
    """A taker in a process of its own, and what it has taken."""

    def __init__(self, child: Child, log: Path) -> None:
        self.child, self._log = child, log

    def takes(self) -> list[list[int]]:
        """The numbers of the messages of each take; those of all but the last are acknowledged."""
        lines = self._log.read_text().split("\n")[:-1]
        return [[int(number) for number in line.split()] for line in lines]


@pytest.fixture
def taking(kind: str, url: str, topic: str, tmp_path: Path) -> Iterator[Callable[[int], Taker]]:
    """Starts takers, each of which falls silent after some takes."""
    started: list[Child] = []

    def start(takes: int) -> Taker:
        log = tmp_path / f"taker-{len(started)}"
        command = [*PROGRAM, kind, url, topic, str(TAKEOVER_S), str(takes)]
        started.append(Child("a taker", command, log=log, environment=environment()))
        return Taker(started[-1], log)

    yield start
    for child in started:
        child.kill()


def test_what_a_killed_taker_held_comes_again_and_nothing_else(
    link: Link, topic: str, taking: Callable[[int], Taker]
) -> None:
    putter = link(takeover_s=TAKEOVER_S)
    killed, other = taking(20), taking(1_000_000)
    put = 0
    while put < MESSAGES or killed.child.alive:
        putter.put(topic, [b"%d" % number for number in range(put, put + 250)])
        put += 250
        time.sleep(0.01)
        if killed.child.alive and len(killed.takes()) == 20:
            time.sleep(0.2)
            held = killed.takes()[-1]
            assert not set(held) & {number for take in other.takes() for number in take}
            killed.child.kill()
    until(lambda: putter.depth(topic) == 0, "all are acknowledged")
    taken = Counter(number for take in killed.takes() + other.takes() for number in take)
    assert sorted(taken) == list(range(put))
    assert {number for number, times in taken.items() if times > 1} == set(held)
    assert max(taken.values()) == 2


@pytest.mark.parametrize("kind", ["memory", "redis-streams", "redis-lists", "kafka-tuned"])
def test_a_broker_that_goes_away_is_said_and_used_again_when_it_is_back(
    link: Link, running: Services, kind: str, topic: str
) -> None:
    putter, taker = link(takeover_s=2.0), link(takeover_s=2.0)
    putter.put(topic, [b"before"])
    take_all(taker, topic, 1)
    putter.put(f"{topic}-2", [b"kept"])
    running.kill(SERVICE_OF[kind])
    began = time.monotonic()
    for call in (
        lambda: putter.put(topic, [b"lost"]),
        lambda: take_all(taker, topic, 1),
        lambda: putter.depth(topic),
    ):
        with impatient(), pytest.raises(BrokerError, match=r"127\.0\.0\.1:\d+") as raised:
            call()
        assert "Purged" not in str(raised.value)
        assert raised.value.hint == "is it running?"
    assert time.monotonic() - began < TIMEOUT_S  # Kafka's own clients would wait for longer
    running.revive(SERVICE_OF[kind])
    until(lambda: attempt(lambda: putter.put(topic, [b"after"])), "it is used again")
    taken: list[bytes] = []
    until(lambda: attempt(lambda: taken.extend(taker.take(topic, most=8, wait_s=1))), "it is back")
    while b"after" not in taken:
        taken += take_all(taker, topic, 1)
    kept = take_all(taker, f"{topic}-2", 1) if kind.startswith("kafka") else [b"kept"]
    assert kept == [b"kept"]


def attempt(call: Callable[[], object]) -> bool:
    """Whether the broker was there."""
    with contextlib.suppress(BrokerError):
        call()
        return True
    return False


@pytest.mark.parametrize("kind", list(BROKERS))
def test_a_broker_that_never_was_there_is_said(kind: str, topic: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        link = broker(kind, address)
        with impatient(), pytest.raises(BrokerError, match=address):
            link.put(topic, [b"lost"])
        with impatient(), pytest.raises(BrokerError, match=address):
            link.take(topic, most=1, wait_s=1)
        link.close()


def test_claims_say_that_redis_is_away() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        claims = Claims(f"127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(BrokerError, match="Redis at"):
            claims.keep([b"lost"])
        claims.close()


PARENT = """
import sys, time, pathlib
from pipelines.servers.memory_broker import start_memory
from pipelines.servers.redis import start_redis
starts = (start_redis, start_memory)
started = [start(pathlib.Path(sys.argv[1])) for start in starts]
for each in started: each.wait_ready()
print("ready", flush=True)
time.sleep(600)
"""


def test_services_end_with_their_parent_however_that_ends(
    running: Services, tmp_path: Path
) -> None:
    running.url("redis")  # it is installed
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        members = family(parent)
        parent.kill()
    assert len(members) == 3
    wait_gone(members)


@pytest.mark.parametrize("name", ["redis", "kafka", "memory"])
def test_services_listen_on_this_host_only(running: Services, name: str) -> None:
    running.url(name)
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for connection in psutil.Process(running.process(name).pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


def test_stopping_leaves_only_logs(tmp_path: Path) -> None:
    with start_memory(tmp_path) as memory:
        memory.wait_ready()
    assert memory.process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["memory.log"]
    assert (tmp_path / "memory.log").read_text() == ""


@pytest.mark.parametrize("start", [start_memory, start_redis])
def test_a_port_in_use_is_named(start: Callable[..., Service], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} is in use"):
            start(tmp_path, port)


def test_a_service_that_stops_while_starting_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kafka.PROPERTIES, "node.id", "seven")
    need("java", "kafka")
    with pytest.raises(ServerError, match="Invalid value seven"):
        start_kafka(tmp_path).wait_ready()


def test_without_java_or_the_jars_kafka_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "JARS", tmp_path / "none")
    with pytest.raises(ServerError) as raised:
        start_kafka(tmp_path)
    assert "run 'make kafka'" in raised.value.hint
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(ServerError, match="Java"):
        start_kafka(tmp_path)


def test_without_redis_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerError, match="redis-server is not installed") as raised:
        start_redis(tmp_path)
    assert "make setup" in raised.value.hint


def test_data_of_dead_runs_is_removed(running: Services, tmp_path: Path) -> None:
    running.url("kafka")  # it is installed
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, own = tmp_path / str(dead.pid), tmp_path / str(os.getpid())
    (left / "kafka-data").mkdir(parents=True)
    (left / "kafka.log").touch()
    start_kafka(own).stop()
    assert [path.name for path in left.iterdir()] == ["kafka.log"]
    assert not (own / "kafka-data").exists()
