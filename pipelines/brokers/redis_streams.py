"""Redis streams as a message broker: a topic is a stream with one group of consumers."""

import contextlib
from collections.abc import Sequence
from typing import Any

import redis

from pipelines.brokers.redis import EXPIRE_S, RedisBroker, speaking
from pipelines.brokers.redis_line import Command

GROUP = "takers"

MOST_MESSAGES = 100_000
"""About so many messages a stream holds; beyond, its oldest are lost."""


class RedisStreams(RedisBroker):
    """What is acknowledged is deleted, on the way of the next take and unanswered."""

    prefix = "streams"
    _held: tuple[str, list[bytes]] = ("", [])

    def _adding(self, key: str, messages: Sequence[bytes]) -> list[Command]:
        return [("XADD", key, "MAXLEN", "~", MOST_MESSAGES, "*", b"m", each) for each in messages]

    def _take(self, topic: str, most: int, wait_ms: int) -> list[bytes]:
        key = self._key(topic)
        if self._rescue_is_due(topic):
            lost_ms = self._takeover_ms
            claim = ("XAUTOCLAIM", key, GROUP, self._taker, lost_ms, "0-0", "COUNT", most)
            reply = self._ask(claim, topic)
            if reply and reply[1]:
                del self._rescued[topic]  # there may be more
                return self._hold(topic, reply[1])
        wait = ("BLOCK", wait_ms) if wait_ms else ()
        read = ("XREADGROUP", "GROUP", GROUP, self._taker, "COUNT", most, *wait, "STREAMS")
        reply = self._ask((*read, key, ">"), topic)
        return self._hold(topic, reply[0][1] if reply else [])

    def _ask(self, command: Command, topic: str) -> Any:
        """Acknowledge what is held, and return the reply to the command: None where the group was
        missing, which now is there.
        """
        try:
            (reply,) = self._line.ask(command, before=self._acknowledging())
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            reply = None
            self._make_group(self._key(topic))
        self._held = ("", [])
        return reply

    def _acknowledging(self) -> list[Command]:
        topic, ids = self._held
        key = self._key(topic)
        return [("XACK", key, GROUP, *ids), ("XDEL", key, *ids)] if ids else []

    def _make_group(self, key: str) -> None:
        with contextlib.suppress(redis.ResponseError):  # another taker was quicker
            self._line.ask(
                ("XGROUP", "CREATE", key, GROUP, "0", "MKSTREAM"), ("EXPIRE", key, EXPIRE_S)
            )

    def _hold(self, topic: str, entries: Sequence[Any]) -> list[bytes]:
        """Return the messages of entries, each of which is its id and its fields."""
        kept = [(number, fields) for number, fields in filter(None, entries) if fields]
        self._held = (topic, [number for number, _ in kept])  # others were cut off
        return [message for _, (_, message) in kept]

    def depth(self, topic: str) -> int:
        with speaking(self._url):
            return int(self._line.ask(("XLEN", self._key(topic)))[0])

    def _leaving(self, key: str) -> list[Command]:
        return [("XGROUP", "DELCONSUMER", key, GROUP, self._taker)]
