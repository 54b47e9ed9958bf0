"""What the two ways of using Redis as a message broker have in common, and the connection to it.

Either takes one round trip to put any number of messages, and one or two to take some. What a dead
taker held is looked for now and then, and what nobody uses any more expires.
"""

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import ClassVar

import redis

from pipelines.brokers import Broker, is_reply
from pipelines.brokers.redis_line import Command, Line, reach
from pipelines.errors import BrokerError

EXPIRE_S = 3600
"""A topic that nothing was put on for so long is forgotten."""

_SLICE_S = 1.0
"""No one call blocks for longer, so that dead takers are noticed while waiting for messages."""


def connect(url: str) -> redis.Redis:
    """Return a connection to the Redis at host:port, opened when it is first used."""
    return redis.Redis(**reach(url))


@contextlib.contextmanager
def speaking(url: str) -> Iterator[None]:
    """Turn errors of Redis into BrokerError."""
    try:
        yield
    except redis.ResponseError as error:
        raise BrokerError(f"Redis at {url} refused: {error}") from error
    except redis.RedisError as error:
        raise BrokerError(
            f"Redis at {url} does not answer: {error}", hint="is it running?"
        ) from error


class RedisBroker(Broker):
    """What both ways have in common; `prefix` begins the keys of topics."""

    prefix: ClassVar[str]

    def __init__(self, url: str, *, takeover_s: float) -> None:
        self._url = url
        self._line = Line(url)
        self._takeover_ms = max(1, round(takeover_s * 1000))
        self._slice_s = min(_SLICE_S, takeover_s / 4)
        self._taker = new_name()
        self._topics: set[str] = set()
        self._rescued: dict[str, float] = {}

    def put(self, topic: str, messages: Sequence[bytes]) -> None:
        if not messages:
            return
        key = self._key(topic)
        with speaking(self._url):
            self._line.ask(*self._adding(key, messages), after=[("EXPIRE", key, EXPIRE_S)])

    def take(self, topic: str, *, most: int, wait_s: float) -> list[bytes]:
        self._topics.add(topic)
        until = time.monotonic() + wait_s
        with speaking(self._url):
            while True:
                left_s = max(0.0, until - time.monotonic())
                taken = self._take(topic, most, int(1000 * min(left_s, self._slice_s)))
                if taken or time.monotonic() >= until:
                    return taken

    def close(self) -> None:
        goodbye = self._acknowledging()
        for topic in self._topics:
            key = self._key(topic)
            goodbye += self._leaving(key)
            if is_reply(topic):
                goodbye.append(("UNLINK", key, f"{key}:takers"))
        if goodbye:
            with contextlib.suppress(redis.RedisError):
                self._line.ask(*goodbye)
        self._line.close()

    def _adding(self, key: str, messages: Sequence[bytes]) -> list[Command]:
        """Return what puts messages, of which there are some."""
        raise NotImplementedError

    def _take(self, topic: str, most: int, wait_ms: int) -> list[bytes]:
        """Acknowledge what is held, and return up to `most` messages."""
        raise NotImplementedError

    def _acknowledging(self) -> list[Command]:
        """Return what acknowledges all that is held."""
        raise NotImplementedError

    def _leaving(self, key: str) -> list[Command]:
        """Return what makes this one no taker of the topic any more."""
        raise NotImplementedError

    def _rescue_is_due(self, topic: str) -> bool:
        """Whether to look for dead takers: at first, then four times in the time they have."""
        now = time.monotonic()
        due = now - self._rescued.get(topic, -1e9) >= self._takeover_ms / 4000
        if due:
            self._rescued[topic] = now
        return due

    def _key(self, topic: str) -> str:
        return f"{self.prefix}:{topic}"


def new_name() -> str:
    """A name that no other taker has."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
