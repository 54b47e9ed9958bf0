"""Redis streams as a message broker: a topic is a stream with one group of consumers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import redis

from pipelines.brokers import is_reply
from pipelines.brokers.redis import EXPIRE_S, Pipeline, RedisBroker, speaking

GROUP = "takers"

MOST_MESSAGES = 100_000
"""About so many messages a stream holds; beyond, its oldest are lost."""


class RedisStreams(RedisBroker):
    """A Broker on streams: a topic is a stream with one group; what is acknowledged is deleted."""

    _held: tuple[str, list[bytes]] = ("", [])

    def put(self, topic: str, messages: Sequence[bytes]) -> None:
        """As Broker.put."""
        pipeline = self._pipeline()
        for message in messages:
            pipeline.xadd(_stream(topic), {b"m": message}, maxlen=MOST_MESSAGES)
        pipeline.expire(_stream(topic), EXPIRE_S)
        with speaking(self._url):
            pipeline.execute()

    def _take(self, topic: str, most: int, wait_ms: int) -> list[bytes]:
        if self._rescue_is_due(topic):
            pipeline = self._acknowledging()
            pipeline.xautoclaim(_stream(topic), GROUP, self._taker, self._takeover_ms, count=most)
            reply = self._execute(pipeline, topic)
            entries = reply[1] if reply else []
            if entries:
                del self._rescued[topic]  # there may be more
                return self._hold(topic, entries)
        pipeline = self._acknowledging()
        pipeline.xreadgroup(
            GROUP, self._taker, {_stream(topic): ">"}, count=most, block=wait_ms or None
        )
        reply = self._execute(pipeline, topic)
        return self._hold(topic, reply[0][1] if reply else [])

    def _acknowledging(self) -> Pipeline:
        pipeline = self._pipeline()
        topic, ids = self._held
        if ids:
            pipeline.xack(_stream(topic), GROUP, *ids)
            pipeline.xdel(_stream(topic), *ids)
        return pipeline

    def _execute(self, pipeline: Pipeline, topic: str) -> Any:
        """Return the last reply; None where the group was missing, which now is there."""
        replies = pipeline.execute(raise_on_error=False)
        self._held = ("", [])
        for error in replies:
            if not isinstance(error, redis.RedisError):
                continue
            if not str(error).startswith("NOGROUP"):
                raise error
            with contextlib.suppress(redis.ResponseError):  # another taker was quicker
                self._redis.xgroup_create(_stream(topic), GROUP, "0", mkstream=True)
                self._redis.expire(_stream(topic), EXPIRE_S)
            return None
        return replies[-1]

    def _hold(self, topic: str, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[bytes]:
        kept = [(number, fields) for number, fields in entries if fields]  # others were cut off
        self._held = (topic, [number for number, _ in kept])
        return [fields[b"m"] for _, fields in kept]

    def depth(self, topic: str) -> int:
        """As Broker.depth."""
        with speaking(self._url):
            return int(self._redis.xlen(_stream(topic)))

    def close(self) -> None:
        """As Broker.close."""
        pipeline = self._acknowledging()
        for topic in self._topics:
            pipeline.xgroup_delconsumer(_stream(topic), GROUP, self._taker)
            if is_reply(topic):
                pipeline.unlink(_stream(topic))
        with contextlib.suppress(redis.RedisError):
            pipeline.execute(raise_on_error=False)
        self._redis.close()


def _stream(topic: str) -> str:
    return f"streams:{topic}"
