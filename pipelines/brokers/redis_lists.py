"""Redis lists as a message broker: what a taker holds is moved to a list of its own.

A taker is dead when its key `lists:alive:<taker>` has expired.
"""

from collections.abc import Sequence
from typing import Any

import redis

from pipelines.brokers.redis import EXPIRE_S, Pipeline, RedisBroker, new_name, speaking

_RESCUE = """
for _, taker in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if redis.call('EXISTS', 'lists:alive:' .. taker) == 0 then
        while redis.call('LMOVE', KEYS[1] .. ':' .. taker, KEYS[1], 'LEFT', 'RIGHT') do end
        redis.call('SREM', KEYS[2], taker)
        redis.call('EXPIRE', KEYS[1], ARGV[1])
    end
end
"""
"""Puts back what the dead among the takers KEYS[2] of the topic KEYS[1] held, to be taken first."""


class RedisLists(RedisBroker):
    """A topic is a list, and a set of its takers."""

    prefix = "lists"

    def _add(self, pipeline: Pipeline, key: str, messages: Sequence[bytes]) -> None:
        pipeline.lpush(key, *messages)

    def _take(self, topic: str, most: int, wait_ms: int) -> list[bytes]:
        try:
            return self._move(topic, most, wait_ms)
        except redis.RedisError:
            self._taker = new_name()  # what was on its way is the old one's, who is dead
            raise

    def _move(self, topic: str, most: int, wait_ms: int) -> list[bytes]:
        source, alive = self._key(topic), f"lists:alive:{self._taker}"
        taken, takers = f"{source}:{self._taker}", f"{source}:takers"
        pipeline = self._acknowledging()
        pipeline.sadd(takers, self._taker)
        pipeline.expire(takers, EXPIRE_S)
        pipeline.set(alive, b"", px=self._takeover_ms + wait_ms)
        if self._rescue_is_due(topic):
            pipeline.eval(_RESCUE, 2, source, takers, EXPIRE_S)
        if wait_ms > 1:  # what Redis rounds to 0 is for ever
            pipeline.blmove(source, taken, wait_ms / 1000, "RIGHT", "LEFT")
        else:
            pipeline.lmove(source, taken, "RIGHT", "LEFT")
        pipeline.pexpire(alive, self._takeover_ms)
        pipeline.expire(taken, EXPIRE_S)
        pipeline.llen(source)
        *_, message, _, _, waiting = pipeline.execute()
        if message is None:
            return []
        if most == 1 or not waiting:
            return [message]
        pipeline = self._pipeline()
        for _ in range(min(most - 1, waiting)):
            pipeline.lmove(source, taken, "RIGHT", "LEFT")
        return [message, *(each for each in pipeline.execute() if each is not None)]

    def _acknowledging(self) -> Pipeline:
        pipeline = self._pipeline()
        pipeline.unlink(*(f"{self._key(topic)}:{self._taker}" for topic in self._topics))
        return pipeline

    def depth(self, topic: str) -> int:
        source = self._key(topic)
        with speaking(self._url):
            takers: Any = self._redis.smembers(f"{source}:takers")
            pipeline = self._pipeline()
            pipeline.llen(source)
            for taker in takers:
                pipeline.llen(f"{source}:{taker.decode()}")
            return sum(pipeline.execute())

    def _leave(self, pipeline: Pipeline, key: str) -> None:
        pipeline.srem(f"{key}:takers", self._taker)
        pipeline.unlink(f"lists:alive:{self._taker}")
