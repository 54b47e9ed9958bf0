"""Redis streams as a message broker: a topic is a stream with one group of consumers."""

import contextlib
from collections.abc import Sequence
from typing import Any

import redis

from pipelines.brokers.redis import EXPIRE_S, Pipeline, RedisBroker, speaking

GROUP = "takers"

MOST_MESSAGES = 100_000
"""About so many messages a stream holds; beyond, its oldest are lost."""


class RedisStreams(RedisBroker):
    """What is acknowledged is deleted."""

    prefix = "streams"
    _held: tuple[str, list[bytes]] = ("", [])

    def _add(self, pipeline: Pipeline, key: str, messages: Sequence[bytes]) -> None:
        for message in messages:
            pipeline.xadd(key, {b"m": message}, maxlen=MOST_MESSAGES)

    def _take(self, topic: str, most: int, wait_ms: int) -> list[bytes]:
        if self._rescue_is_due(topic):
            pipeline = self._acknowledging()
            pipeline.xautoclaim(self._key(topic), GROUP, self._taker, self._takeover_ms, count=most)
            reply = self._execute(pipeline, topic)
            entries = reply[1] if reply else []
            if entries:
                del self._rescued[topic]  # there may be more
                return self._hold(topic, entries)
        pipeline = self._acknowledging()
        pipeline.xreadgroup(
            GROUP, self._taker, {self._key(topic): ">"}, count=most, block=wait_ms or None
        )
        reply = self._execute(pipeline, topic)
        return self._hold(topic, reply[0][1] if reply else [])

    def _acknowledging(self) -> Pipeline:
        pipeline = self._pipeline()
        topic, ids = self._held
        if ids:
            pipeline.xack(self._key(topic), GROUP, *ids)
            pipeline.xdel(self._key(topic), *ids)
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
                self._redis.xgroup_create(self._key(topic), GROUP, "0", mkstream=True)
                self._redis.expire(self._key(topic), EXPIRE_S)
            return None
        return replies[-1]

    def _hold(self, topic: str, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[bytes]:
        kept = [(number, fields) for number, fields in entries if fields]  # others were cut off
        self._held = (topic, [number for number, _ in kept])
        return [fields[b"m"] for _, fields in kept]

    def depth(self, topic: str) -> int:
        with speaking(self._url):
            return int(self._redis.xlen(self._key(topic)))

    def _leave(self, pipeline: Pipeline, key: str) -> None:
        pipeline.xgroup_delconsumer(key, GROUP, self._taker)
