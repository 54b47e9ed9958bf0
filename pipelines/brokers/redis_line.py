"""A line to Redis for one thread or greenlet: what is said together leaves in one write, and only
replies that somebody waits for come back.
"""

import time
from collections.abc import Iterable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PATIENCE_S = 10.0
"""An answer that is so late will not come."""

IDLE_S = 1.0
"""After so long in silence the line is looked at before it is used: Redis may have hung up."""

Command = tuple[bytes | str | int | float, ...]

_UNANSWERED: Command = ("CLIENT", "REPLY", "SKIP")
"""Has Redis keep to itself what it would reply to the next command."""


def reach(url: str) -> dict[str, Any]:
    """Return what redis-py is told of the Redis at host:port."""
    host, _, port = url.rpartition(":")
    return {
        "host": host,
        "port": int(port),
        "protocol": 2,
        "socket_timeout": PATIENCE_S,
        "socket_connect_timeout": PATIENCE_S,
        "retry": Retry(NoBackoff(), 0),  # a put that is repeated unasked is there twice
    }


class Line:
    """A connection to the Redis at `url` (host:port), opened when it is first used.

    redis-py's client takes a connection from a pool, asks whether it is alive and counts it for
    every command: about 0.1 ms of a core, in the way of every message.
    """

    def __init__(self, url: str) -> None:
        untyped: Any = redis.Connection
        self._connection = untyped(**reach(url))
        self._used_s = time.monotonic()

    def ask(
        self, *commands: Command, before: Iterable[Command] = (), after: Iterable[Command] = ()
    ) -> list[Any]:
        """Have commands done, those `before` and `after` them unanswered; return their replies.

        Raises redis.RedisError: what Redis refused once all replies are here, or that it is away.
        """
        connection = self._connection
        self._look()
        said = [*_quietly(before), *commands, *_quietly(after)]
        packed = b"".join(piece for each in said for piece in connection.pack_command(*each))
        connection.send_packed_command([packed])
        replies, refused = [], None
        for _ in commands:
            try:
                replies.append(connection.read_response())
            except redis.ResponseError as error:
                refused = refused or error
        self._used_s = time.monotonic()
        if refused is not None:
            raise refused
        return replies

    def _look(self) -> None:
        if time.monotonic() - self._used_s < IDLE_S:
            return
        try:
            stale = self._connection.can_read()
        except redis.ConnectionError:
            stale = True
        if stale:
            self._connection.disconnect()

    def close(self) -> None:
        """Hang up."""
        self._connection.disconnect()


def _quietly(commands: Iterable[Command]) -> Iterable[Command]:
    for each in commands:
        yield _UNANSWERED
        yield each
