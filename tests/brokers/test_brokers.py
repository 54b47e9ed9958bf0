"""What every kind of broker promises to those who put and take, against the real ones."""

import os
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from brokers import Link, Services, numbered, take_all
from processes import PYTHON, TIMEOUT_S, run, until

from pipelines import processes
from pipelines.brokers import broker, kafka_settings, kafka_topics, redis_streams
from pipelines.brokers.claims import Claims
from pipelines.brokers.redis import connect
from pipelines.errors import BrokerError, VisiontaxError

REPLIES = f"replies-{processes.owner()}"


def test_every_message_comes_once(link: Link, topic: str) -> None:
    putter, taker = link(), link()
    for start in range(0, 200, 50):
        putter.put(topic, numbered(200)[start : start + 50])
    assert sorted(take_all(taker, topic, 200)) == sorted(numbered(200))
    assert taker.take(topic, most=64, wait_s=0.3) == []
    assert taker.depth(topic) == 0


def test_a_message_is_the_same_bytes(link: Link, topic: str) -> None:
    taker = link()
    for message in (b"", b"\x00\r\n\xff", os.urandom(37_632), os.urandom(10_000_000)):
        taker.put(topic, [message])
        assert take_all(taker, topic, 1) == [message]


def test_never_more_than_wanted_and_no_wait_for_more(link: Link, topic: str) -> None:
    taker = link()
    taker.put(topic, numbered(10))
    assert len(take_all(taker, topic, 1)) >= 1  # by now Kafka has let it join
    taker.put(topic, numbered(30))
    assert 1 <= len(taker.take(topic, most=4, wait_s=120)) <= 4
    began = time.monotonic()
    assert taker.take(topic, most=10_000, wait_s=120)
    assert time.monotonic() - began < 60


def test_none_come_after_the_wait_and_not_before(link: Link, topic: str) -> None:
    taker = link()
    began = time.monotonic()
    assert taker.take(topic, most=1, wait_s=1.2) == []
    assert time.monotonic() - began >= 1.1
    assert taker.take(topic, most=1, wait_s=0) == []


def test_who_waits_gets_what_is_put_meanwhile(link: Link, topic: str) -> None:
    taker, putter = link(), link()
    taker.take(topic, most=1, wait_s=0)
    putting = threading.Timer(0.5, putter.put, (topic, [b"late"]))
    putting.start()
    assert taker.take(topic, most=8, wait_s=20) == [b"late"]
    putting.join()


def test_two_takers_share_the_work(link: Link, topic: str) -> None:
    takers, putter = [link(), link()], link()
    taken: list[list[bytes]] = [[], []]
    done = threading.Event()

    def work(index: int) -> None:
        while not done.is_set():
            taken[index] += takers[index].take(topic, most=4, wait_s=0.2)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    try:
        put = 0
        deadline = time.monotonic() + TIMEOUT_S
        while not (taken[0] and taken[1]) and time.monotonic() < deadline:
            putter.put(topic, [b"%d" % number for number in range(put, put + 20)])
            put += 20
            time.sleep(0.05)
        until(lambda: len(taken[0]) + len(taken[1]) >= put, "all are taken")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert taken[0]
    assert taken[1]
    assert sorted(taken[0] + taken[1], key=int) == numbered(put)


def test_topics_are_apart(link: Link, topic: str) -> None:
    both = link()
    both.put(f"{topic}-a", [b"a"])
    both.put(f"{topic}-b", [b"b"])
    assert take_all(both, f"{topic}-b", 1) == [b"b"]
    assert take_all(both, f"{topic}-a", 1) == [b"a"]
    assert both.take(f"{topic}-b", most=1, wait_s=0.2) == []
    assert both.depth(f"{topic}-a") == both.depth(f"{topic}-b") == 0


def test_depth_counts_what_is_not_acknowledged(link: Link, topic: str) -> None:
    taker, watcher = link(), link()
    assert watcher.depth(topic) == 0
    taker.put(topic, numbered(5))
    assert watcher.depth(topic) == 5
    taken = take_all(taker, topic, 1)
    assert watcher.depth(topic) == 5
    while len(taken) < 5:
        taken += taker.take(topic, most=64, wait_s=1)
    taker.take(topic, most=1, wait_s=0)
    until(lambda: watcher.depth(topic) == 0, "all are acknowledged")


def test_closing_acknowledges(link: Link, topic: str) -> None:
    first, second = link(takeover_s=3.0), link(takeover_s=3.0)
    first.put(topic, [b"once"])
    assert take_all(first, topic, 1) == [b"once"]
    first.close()
    until(lambda: second.depth(topic) == 0, "it is acknowledged")
    assert second.take(topic, most=1, wait_s=3.5) == []


def test_nobody_else_gets_what_a_living_taker_holds(link: Link, topic: str) -> None:
    first, second = link(takeover_s=8.0), link(takeover_s=8.0)
    first.put(topic, [b"mine"])
    assert take_all(first, topic, 1) == [b"mine"]
    assert second.take(topic, most=1, wait_s=1) == []
    assert first.take(topic, most=1, wait_s=0.2) == []
    assert second.take(topic, most=1, wait_s=0.3) == []


def test_what_a_silent_taker_holds_comes_again(link: Link, topic: str) -> None:
    silent, other = link(takeover_s=3.0), link(takeover_s=3.0)
    silent.put(topic, [b"again"])
    assert take_all(silent, topic, 1) == [b"again"]
    assert take_all(other, topic, 1) == [b"again"]
    other.close()
    silent.put(topic, [b"more"])
    assert take_all(silent, topic, 1) == [b"more"]


TICKS, WITHIN_S = 100, 30
"""So many ticks of 10 ms come within that time on any machine, and would not if others ran only
between two looks of a second each at what there is to take.
"""

GREENLETS = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from pipelines.brokers import broker
kind, url, topic = sys.argv[1:]
taker, putter, ticks = broker(kind, url), broker(kind, url), []
taker.take(topic, most=1, wait_s=0)
def tick():
    while True:
        ticks.append(time.monotonic()); gevent.sleep(0.01)
gevent.spawn(tick)
def put():
    while len(ticks) < {ticks}:
        gevent.sleep(0.01)
    putter.put(topic, [b"from a greenlet"])
putting = gevent.spawn(put)
taken, end = [], time.monotonic() + {within_s}
while not taken and time.monotonic() < end:
    taken = taker.take(topic, most=8, wait_s=end - time.monotonic())
assert taken == [b"from a greenlet"], (taken, len(ticks))
putting.join()
assert putter.depth(topic) == 1
taker.close(); putter.close()
print("fine")
"""


def test_other_greenlets_run_while_one_takes(kind: str, url: str, topic: str) -> None:
    program = GREENLETS.format(ticks=TICKS, within_s=WITHIN_S)
    done = run((PYTHON, "-c", program), kind, url, topic)
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_a_topic_of_replies_goes_with_its_taker(
    link: Link, kind: str, url: str, topic: str
) -> None:
    replies = f"{REPLIES}-{topic}"
    taker, putter = link(), link()
    taker.take(replies, most=1, wait_s=0)
    putter.put(replies, [b"reply"])
    assert take_all(taker, replies, 1) == [b"reply"]
    assert kind == "memory" or replies in " ".join(topics(kind, url))
    taker.close()
    until(lambda: replies not in " ".join(topics(kind, url)), "it is gone")


def topics(kind: str, url: str) -> list[str]:
    """All that the broker has by name."""
    if kind.startswith("redis"):
        with connect(url) as redis:
            return [key.decode() for key in redis.keys("*")]
    if kind.startswith("kafka"):
        return list(kafka_topics.connect(url).list_topics(timeout=TIMEOUT_S).topics)
    return []


@pytest.mark.parametrize("kind", ["redis-streams", "redis-lists"])
def test_redis_keeps_nothing_of_what_was_acknowledged(link: Link, url: str, topic: str) -> None:
    taker = link()
    taker.put(topic, numbered(300))
    take_all(taker, topic, 300)
    taker.close()
    with connect(url) as redis:
        left = {key.decode(): redis.ttl(key) for key in redis.keys(f"*{topic}*")}
        assert all(redis.type(key) == b"stream" and redis.xlen(key) == 0 for key in left)
        assert all(0 < seconds <= 3600 for seconds in left.values())
        assert len(left) <= 1
        for key in left:
            assert redis.xpending(key, redis_streams.GROUP)["pending"] == 0
            assert redis.xinfo_consumers(key, redis_streams.GROUP) == []


@pytest.mark.parametrize("kind", ["redis-streams"])
def test_a_stream_that_nobody_takes_from_is_cut(
    link: Link, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_streams, "MOST_MESSAGES", 500)
    putter = link()
    putter.put(topic, numbered(2000))
    assert 500 <= putter.depth(topic) < 1000


@pytest.mark.parametrize("kind", ["kafka-tuned"])
def test_a_topic_of_kafka_that_nobody_takes_from_is_cut(
    link: Link, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    least = {"segment.bytes": str(2**20), "retention.bytes": str(2**20)}
    monkeypatch.setattr(kafka_topics, "RETENTION", kafka_settings.RETENTION | least)
    monkeypatch.setattr(kafka_topics, "PARTITIONS", 1)
    putter = link()
    for _ in range(8):
        putter.put(topic, [os.urandom(2**19)] * 4)
    until(lambda: putter.depth(topic) < 16, "its oldest messages are gone")


@pytest.mark.parametrize("kind", ["kafka"])
def test_what_is_too_large_is_refused_with_the_cause(link: Link, topic: str) -> None:
    putter = link()
    with pytest.raises(BrokerError, match="too large"):
        putter.put(topic, [bytes(kafka_settings.MOST_BYTES + 1)])
    putter.put(topic, [b"small"])
    assert take_all(putter, topic, 1) == [b"small"]


def test_topics_of_replies_to_dead_processes_are_swept(running: Services, topic: str) -> None:
    url = running.url("kafka")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f"replies-{processes.owner(dead.pid)}-{topic}", f"{REPLIES}-{topic}", topic]
    for name in names:
        kafka_topics.make(url, name)
    kafka_topics.sweep_replies(url)
    until(lambda: names[0] not in topics("kafka", url), "the dead one's is gone")
    assert set(names[1:]) <= set(topics("kafka", url))


def test_claims_are_kept_until_dropped(running: Services) -> None:
    url = running.url("redis")
    with closing(Claims(url)) as keeper, closing(Claims(url)) as fetcher:
        keys = keeper.keep([b"one", b"", os.urandom(100_000)])
        assert len(set(keys)) == 3
        assert fetcher.fetch(keys)[:2] == [b"one", b""]
        with connect(url) as redis:
            assert all(0 < redis.ttl(key) <= 120 for key in keys)
        fetcher.drop(keys[1:])
        assert keeper.fetch(keys) == [b"one", None, None]
        assert (keeper.keep([]), keeper.fetch([])) == ([], [])
        keeper.drop([])
        keeper.drop(keys)


def test_an_unknown_kind_lists_the_known_ones(kind: str) -> None:
    with pytest.raises(VisiontaxError, match="unknown broker: rabbit") as raised:
        broker("rabbit", "127.0.0.1:1")
    assert kind in raised.value.hint
