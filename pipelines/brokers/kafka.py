"""Kafka as a message broker: with the library's own settings, and with settings for low latency.

The takers of a topic are one group, and acknowledge by committing offsets. Where gevent has taken
over the process, every call runs on a thread, for librdkafka blocks without gevent's notice.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Concatenate, ParamSpec, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from pipelines.brokers import Broker, is_reply, kafka_topics, threads
from pipelines.brokers.kafka_settings import (
    CONSUMER,
    PATIENCE_S,
    PRODUCER,
    TUNED,
    Setting,
    connection,
)
from pipelines.errors import BrokerError

P = ParamSpec("P")
T = TypeVar("T")

_SLICE_S = 1.0
_AGAIN_S = 0.05
_NO_LEADER = (KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION)


def _on_thread(call: Callable[Concatenate[Kafka, P], T]) -> Callable[Concatenate[Kafka, P], T]:
    """Have the broker's thread make the call, and Kafka's errors raised as BrokerError."""

    @functools.wraps(call)
    def made(self: Kafka, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            result: T = threads.call(self._thread, call, self, *args, **kwargs)
            return result
        except KafkaException as error:
            raise self._error(error.args[0]) from error

    return made


class Kafka(Broker):
    """A Broker, with the library's own settings."""

    settings: ClassVar[dict[str, Setting]] = {}

    def __init__(self, url: str, *, takeover_s: float) -> None:
        self._url = url
        self._takeover_ms = max(10, round(takeover_s * 1000))
        self._thread = threads.pool()
        self._made: set[str] = set()
        self._producer: Producer | None = None
        self._delivered = 0
        self._refused: KafkaError | None = None
        self._takers: dict[str, Consumer] = {}
        self._watchers: dict[str, tuple[Consumer, list[int]]] = {}
        self._held: tuple[str, list[TopicPartition]] = ("", [])
        self._trouble: KafkaError | None = None
        self._revoked = False

    def close(self) -> None:
        """As Broker.close; a topic of replies goes with its taker."""
        with contextlib.suppress(BrokerError):
            self._close()
        if self._thread is not None:
            self._thread.kill()

    def _error(self, error: KafkaError, cause: str = "") -> BrokerError:
        refused = error.code() > 0  # the library's own complaints are below
        return BrokerError(
            f"Kafka at {self._url}: {cause}{error.str()}", hint="" if refused else "is it running?"
        )

    @_on_thread
    def put(self, topic: str, messages: Sequence[bytes]) -> None:
        self._make(topic)
        if self._producer is None:
            quiet = {"error_cb": lambda _: None}  # what it says is raised by the call it concerns
            self._producer = Producer(connection(self._url) | PRODUCER | self.settings | quiet)
        producer, until = self._producer, time.monotonic() + PATIENCE_S
        self._delivered, self._refused = 0, None
        for message in messages:
            self._queue(producer, topic, message, until)
        producer.flush(max(0.0, until - time.monotonic()))
        missing = len(messages) - self._delivered
        if missing:
            refused = self._refused or KafkaError(KafkaError._TIMED_OUT)
            producer.purge()
            producer.flush(PATIENCE_S)  # for the reports about what was purged
            raise self._error(refused, f"{missing} of {len(messages)} messages were not taken: ")

    def _queue(self, producer: Producer, topic: str, message: bytes, until: float) -> None:
        """Hand the message to the library, unless its queue stays full."""
        while time.monotonic() < until:
            try:
                producer.produce(topic, message, on_delivery=self._on_delivery)
            except BufferError:
                producer.poll(0.1)
            else:
                return

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self._delivered += 1
        else:
            self._refused = self._refused or error

    @_on_thread
    def take(self, topic: str, *, most: int, wait_s: float) -> list[bytes]:
        self._acknowledge()
        taker = self._taker(topic)
        until = time.monotonic() + wait_s
        while True:
            left_s = max(0.0, until - time.monotonic())
            message = taker.poll(min(left_s, _SLICE_S))
            if message is not None and message.error() is None:
                messages = self._with_more(taker, message, most - 1)
                if messages:
                    return self._hold(topic, messages)
                continue
            if message is not None:
                self._trouble = message.error()
            self._check(taker, topic)
            if time.monotonic() >= until:
                return []

    def _with_more(self, taker: Consumer, first: Message, count: int) -> list[Message]:
        self._revoked = False
        more = taker.consume(count, 0) if count else []
        kept = [each for each in more if each.error() is None]
        return kept if self._revoked else [first, *kept]  # what is revoked comes again

    def _on_revoke(self, *_: object) -> None:
        self._revoked = True

    def _hold(self, topic: str, messages: list[Message]) -> list[bytes]:
        ends = {each.partition() or 0: (each.offset() or 0) + 1 for each in messages}
        self._held = (topic, [TopicPartition(topic, *end) for end in ends.items()])
        return [each.value() or b"" for each in messages]

    def _acknowledge(self) -> None:
        """Commit what is held; where it is another taker's by now, that one gets it again."""
        topic, ends = self._held
        if not ends:
            return
        try:
            self._takers[topic].commit(offsets=ends, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() < 0:  # the broker has not refused it
                raise
        self._held = ("", [])

    def _taker(self, topic: str) -> Consumer:
        if topic not in self._takers:
            if is_reply(topic):
                kafka_topics.sweep_replies(self._url)
            self._make(topic)
            taker = self._consumer(topic)
            taker.subscribe([topic], on_revoke=self._on_revoke)
            self._takers[topic] = taker
        return self._takers[topic]

    def _check(self, consumer: Consumer, topic: str) -> None:
        """Raise when the broker is away, make the topic again when it is lost."""
        if self._trouble:
            try:
                consumer.list_topics(topic, timeout=_SLICE_S)
            except KafkaException as error:
                raise self._error(self._trouble) from error
            self._trouble = None
            self._made.discard(topic)
            self._make(topic)

    @_on_thread
    def depth(self, topic: str) -> int:
        """As Broker.depth: the ends of the partitions less what is committed of them."""
        if topic not in self._watchers:
            self._make(topic)
            watcher = self._consumer(topic)
            numbers = list(watcher.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions)
            self._watchers[topic] = (watcher, numbers)
        watcher, numbers = self._watchers[topic]
        # The first may be gone by their age, and are nobody's any more.
        firsts, ends = (
            _offsets(watcher, [TopicPartition(topic, number, end) for number in numbers])
            for end in (OFFSET_BEGINNING, OFFSET_END)
        )
        parts = [TopicPartition(topic, number) for number in numbers]
        committed = watcher.committed(parts, timeout=PATIENCE_S)
        return sum(
            end.offset - max(first.offset, done.offset)
            for first, end, done in zip(firsts, ends, committed, strict=True)
        )

    def _consumer(self, topic: str) -> Consumer:
        own = {
            "session.timeout.ms": self._takeover_ms,
            "max.poll.interval.ms": self._takeover_ms,
            "heartbeat.interval.ms": self._takeover_ms // 10,
            "group.id": topic,
            "error_cb": functools.partial(setattr, self, "_trouble"),
        }
        return Consumer(connection(self._url) | CONSUMER | own)

    def _make(self, topic: str) -> None:
        if topic not in self._made:
            kafka_topics.make(self._url, topic)
            self._made.add(topic)

    @_on_thread
    def _close(self) -> None:
        self._acknowledge()
        for consumer in (*self._takers.values(), *(each for each, _ in self._watchers.values())):
            consumer.close()
        kafka_topics.delete(self._url, [topic for topic in self._takers if is_reply(topic)])


class TunedKafka(Kafka):
    """A Broker, with settings for low latency."""

    settings = TUNED


def _offsets(consumer: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    """Return what offsets those asked stand for, once the new among the partitions have a leader.

    Raises KafkaException.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return consumer.offsets_for_times(asked, timeout=PATIENCE_S)
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER or time.monotonic() > until:
                raise
            time.sleep(_AGAIN_S)
