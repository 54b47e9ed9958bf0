"""Message brokers between the processes of a chain: at least once, in any order, bounded.

A broker belongs to one thread or greenlet. Topics are made when they are first used. What comes in
carries bytes: what they mean is for the topologies.
"""

import pkgutil
from collections.abc import Sequence
from typing import Protocol

from pipelines.errors import VisiontaxError


class Broker(Protocol):
    """A connection to a message broker."""

    def put(self, topic: str, messages: Sequence[bytes]) -> None:
        """Put messages on the topic; they are the broker's when this returns.

        Raises BrokerError when the broker is away.
        """

    def take(self, topic: str, *, most: int, wait_s: float) -> list[bytes]:
        """Return up to `most` messages as soon as there is one, none after `wait_s`.

        The messages of the take before are thereby acknowledged: until then, they come again to
        another taker of the topic when this one is gone. Raises BrokerError when the broker is
        away.
        """

    def depth(self, topic: str) -> int:
        """Return how many messages of the topic are not acknowledged."""

    def close(self) -> None:
        """Acknowledge what was taken, and hang up."""


REPLIES = "replies"
"""A topic `replies-<owner>-...` is of one taker, and goes with it."""


def is_reply(topic: str) -> bool:
    """Whether the topic is of one taker's replies."""
    return topic.startswith(f"{REPLIES}-")


BROKERS = {
    "memory": "pipelines.brokers.memory:MemoryBroker",
    "redis-streams": "pipelines.brokers.redis_streams:RedisStreams",
    "redis-lists": "pipelines.brokers.redis_lists:RedisLists",
    "kafka": "pipelines.brokers.kafka:Kafka",
    "kafka-tuned": "pipelines.brokers.kafka:TunedKafka",
}
"""Where each kind of broker is; only the one that is used is imported."""


def broker(kind: str, url: str, *, takeover_s: float = 5.0) -> Broker:
    """Return a new connection to the broker at `url` (host:port).

    A taker that has not asked again for `takeover_s` counts as gone. Raises VisiontaxError listing
    the known kinds when it is none of them. The broker itself need not be there yet.
    """
    if kind not in BROKERS:
        raise VisiontaxError(f"unknown broker: {kind}", hint=f"known brokers: {', '.join(BROKERS)}")
    made: Broker = pkgutil.resolve_name(BROKERS[kind])(url, takeover_s=takeover_s)
    return made
