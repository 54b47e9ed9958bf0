"""Redis lists as a message broker: what a taker holds is moved to a list of its own.

A taker is dead when its key `lists:alive:<taker>` has expired.
"""

from collections.abc import Sequence

import redis

from pipelines.brokers.redis import EXPIRE_S, RedisBroker, new_name, speaking
from pipelines.brokers.redis_line import Command

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

    def _adding(self, key: str, messages: Sequence[bytes]) -> list[Command]:
        return [("LPUSH", key, *messages)]

    def _take(self, topic: str, most: int, wait_ms: int) -> list[bytes]:
        try:
            return self._move(topic, most, wait_ms)
        except redis.RedisError:
            self._taker = new_name()  # what was on its way is the old one's, who is dead
            raise

    def _move(self, topic: str, most: int, wait_ms: int) -> list[bytes]:
        source, alive = self._key(topic), f"lists:alive:{self._taker}"
        taken, takers = f"{source}:{self._taker}", f"{source}:takers"
        before: list[Command] = [
            *self._acknowledging(),
            ("SADD", takers, self._taker),
            ("EXPIRE", takers, EXPIRE_S),
            ("SET", alive, b"", "PX", self._takeover_ms + wait_ms),
        ]
        if self._rescue_is_due(topic):
            before.append(("EVAL", _RESCUE, 2, source, takers, EXPIRE_S))
        after: list[Command] = [("PEXPIRE", alive, self._takeover_ms), ("EXPIRE", taken, EXPIRE_S)]
        move: Command = ("LMOVE", source, taken, "RIGHT", "LEFT")
        if wait_ms > 1:  # what Redis rounds to 0 is for ever
            wait: Command = ("BLMOVE", *move[1:], wait_ms / 1000)
        else:
            wait = move
        message, waiting = self._line.ask(wait, ("LLEN", source), before=before, after=after)
        if message is None:
            return []
        if most == 1 or not waiting:
            return [message]
        more = self._line.ask(*[move] * min(most - 1, waiting))
        return [message, *(each for each in more if each is not None)]

    def _acknowledging(self) -> list[Command]:
        held = [f"{self._key(topic)}:{self._taker}" for topic in self._topics]
        return [("UNLINK", *held)] if held else []

    def depth(self, topic: str) -> int:
        source = self._key(topic)
        with speaking(self._url):
            (takers,) = self._line.ask(("SMEMBERS", f"{source}:takers"))
            held = [("LLEN", f"{source}:{taker.decode()}") for taker in takers]
            return sum(self._line.ask(("LLEN", source), *held))

    def _leaving(self, key: str) -> list[Command]:
        return [
            ("SREM", f"{key}:takers", self._taker),
            ("UNLINK", f"lists:alive:{self._taker}"),
        ]
