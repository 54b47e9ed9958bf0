"""The claim check: what is too large for a message stays in Redis; the message has its key."""

import itertools
import uuid
from collections.abc import Sequence
from typing import Any

from pipelines.brokers.redis import connect, speaking

KEEP_S = 120
"""What nobody drops is dropped after so long."""


class Claims:
    """A store of values in the Redis at `url` (host:port); for one thread or greenlet.

    Every method raises BrokerError when Redis is away or full.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis = connect(url)
        self._name = uuid.uuid4().hex
        self._numbers = itertools.count()

    def keep(self, values: Sequence[bytes]) -> list[str]:
        """Store the values, and return the key of each."""
        keys = [f"claim:{self._name}:{next(self._numbers)}" for _ in values]
        pipeline = self._redis.pipeline(transaction=False)
        for key, value in zip(keys, values, strict=True):
            pipeline.set(key, value, ex=KEEP_S)
        with speaking(self._url):
            pipeline.execute()
        return keys

    def fetch(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values, with None for each that is not there any more."""
        if not keys:
            return []
        with speaking(self._url):
            values: Any = self._redis.mget(keys)
        return list(values)

    def drop(self, keys: Sequence[str]) -> None:
        """Remove the values."""
        if keys:
            with speaking(self._url):
                self._redis.unlink(*keys)

    def close(self) -> None:
        """Hang up; what was kept stays."""
        self._redis.close()
