"""What the brokers in Redis cost in round trips, counted by Redis, and what a line that breaks
costs.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from brokers import Link, numbered, take_all
from processes import until

from pipelines.brokers import Broker, redis_line
from pipelines.brokers.redis import connect
from pipelines.brokers.redis_line import PATIENCE_S
from pipelines.errors import BrokerError

MUCH_LATER_S = 3600.0
"""So far off, a taker that is gone is looked for at its first take only."""

kinds = pytest.mark.parametrize("kind", ["redis-streams", "redis-lists"])
streams = pytest.mark.parametrize("kind", ["redis-streams"])


@contextmanager
def counted(url: str) -> Iterator[dict[str, int]]:
    """How often Redis reads from its clients and answers them, and how often each command runs."""
    counts: dict[str, int] = {}
    with connect(url) as redis:
        redis.config_resetstat()
        yield counts
        stats = redis.info("stats")
        counts["reads"] = stats["total_reads_processed"] - 1  # this one asks as well
        counts["answers"] = stats["total_writes_processed"] - 1  # that of resetting
        for command, told in redis.info("commandstats").items():
            counts[command.removeprefix("cmdstat_")] = told["calls"]


@kinds
def test_any_number_of_messages_is_put_in_one_round_trip(link: Link, url: str, topic: str) -> None:
    putter = link()
    putter.put(topic, [b"first"])  # which connects
    for count in (1, 8, 64):
        with counted(url) as counts:
            putter.put(topic, numbered(count))
        assert (counts["reads"], counts["answers"]) == (1, 1)


@streams
def test_a_block_is_acknowledged_and_another_taken_in_one_round_trip(
    link: Link, url: str, topic: str
) -> None:
    taker = link(takeover_s=MUCH_LATER_S)
    taker.put(topic, numbered(1))
    take_all(taker, topic, 1)
    taker.put(topic, numbered(128))
    with counted(url) as counts:
        assert taker.take(topic, most=64, wait_s=5) == numbered(128)[:64]
        assert taker.take(topic, most=64, wait_s=5) == numbered(128)[64:]
    assert (counts["reads"], counts["answers"]) == (2, 2)
    assert counts["xreadgroup"] == counts["xack"] == counts["xdel"] == 2
    assert taker.depth(topic) == 64
    assert taker.take(topic, most=64, wait_s=0) == []
    assert taker.depth(topic) == 0


@streams
def test_who_waits_is_answered_when_there_is_something_and_not_before(
    link: Link, url: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.brokers.redis._SLICE_S", PATIENCE_S * 0.8)  # it asks only once
    taker, putter = link(takeover_s=MUCH_LATER_S), link()
    taker.put(topic, [b"before"])
    take_all(taker, topic, 1)
    putter.depth(topic)
    putting = threading.Timer(0.3, putter.put, (topic, [b"late"]))
    with counted(url) as counts:
        putting.start()
        assert taker.take(topic, most=8, wait_s=20) == [b"late"]
        putting.join()
    assert counts["answers"] == 2  # to the one who put, and to the one who took


@kinds
def test_nothing_is_lost_when_the_line_breaks_while_one_waits(
    link: Link, url: str, topic: str
) -> None:
    taker, putter = link(takeover_s=1.0), link()
    taker.put(topic, [b"held"])
    assert take_all(taker, topic, 1) == [b"held"]
    broken = threading.Thread(target=hang_up_on_who_waits, args=(url,))
    broken.start()
    with pytest.raises(BrokerError, match="does not answer"):
        taker.take(topic, most=8, wait_s=20)
    broken.join()
    until(lambda: put(putter, topic, b"meanwhile"), "it is put")
    assert b"meanwhile" in take_all(taker, topic, 1)
    taker.take(topic, most=8, wait_s=0)
    until(lambda: putter.depth(topic) == 0, "all are acknowledged")


@kinds
def test_who_was_silent_for_long_does_not_notice_that_the_line_broke(
    link: Link, url: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    putter = link()
    putter.put(topic, [b"before"])
    monkeypatch.setattr(redis_line, "IDLE_S", 0.0)
    hang_up_on_all(url)
    putter.put(topic, [b"after"])
    assert putter.depth(topic) == 2


@kinds
def test_what_redis_refuses_is_said_and_the_line_goes_on(
    link: Link, kind: str, url: str, topic: str
) -> None:
    putter = link()
    with connect(url) as redis:
        redis.set(f"{kind.removeprefix('redis-')}:{topic}", b"no broker made this")
        with pytest.raises(BrokerError, match="refused: WRONGTYPE"):
            putter.put(topic, numbered(3))
        redis.flushall()
    putter.put(topic, numbered(3))
    assert putter.depth(topic) == 3


def hang_up_on_all(url: str) -> None:
    """Have Redis close every other connection, and wait until it has."""
    with connect(url) as redis:
        redis.client_kill_filter(_type="normal", skipme=True)
        until(lambda: len(redis.client_list(_type="normal")) == 1, "all are gone")


def hang_up_on_who_waits(url: str) -> None:
    """Wait until somebody waits for messages, and then hang up on all."""
    with connect(url) as redis:
        until(lambda: any("b" in one["flags"] for one in redis.client_list()), "one waits")
    hang_up_on_all(url)


def put(link: Broker, topic: str, message: bytes) -> bool:
    """Whether it could be put."""
    try:
        link.put(topic, [message])
    except BrokerError:
        return False
    return True
