"""The far end of `bench selfcheck brokers`, a process of its own: a reply for every message.

`python -m bench.commands.selfcheck.echo KIND URL` ends when its standard input closes.
"""

import sys
import threading
from collections.abc import Sequence
from typing import Any

from pipelines.brokers import REPLIES, Broker, broker
from pipelines.brokers.redis import connect
from pipelines.processes import outlive_signals

BARE = "bare"
"""Redis with nothing but XADD and XREADGROUP: no acknowledging, no taking over, no errors."""

THERE, BACK = "echo-there", f"{REPLIES}-echo"
REPLY_BYTES = 1_500
"""About what a second stage replies about one face."""

MOST = 64
_GROUP = "echo"


class Bare:
    """A Broker in form only: what Redis itself takes for a message through a stream."""

    def __init__(self, url: str) -> None:
        self._redis: Any = connect(url)
        self._groups: set[str] = set()

    def put(self, topic: str, messages: Sequence[bytes]) -> None:
        """XADD each message."""
        pipeline = self._redis.pipeline(transaction=False)
        for message in messages:
            pipeline.xadd(topic, {b"m": message}, maxlen=1000, approximate=True)
        pipeline.execute()

    def take(self, topic: str, *, most: int, wait_s: float) -> list[bytes]:
        """XREADGROUP, acknowledged by the reading itself."""
        if topic not in self._groups:
            if not self._redis.exists(topic) or not self._redis.xinfo_groups(topic):
                self._redis.xgroup_create(topic, _GROUP, id="$", mkstream=True)
            self._groups.add(topic)
        wait_ms = max(1, int(1000 * wait_s))
        read = self._redis.xreadgroup(
            _GROUP, "one", {topic: ">"}, count=most, block=wait_ms, noack=True
        )
        return [fields[b"m"] for _, entries in read for _, fields in entries]

    def depth(self, topic: str) -> int:
        """XLEN."""
        return int(self._redis.xlen(topic))

    def close(self) -> None:
        """Hang up."""
        self._redis.close()


def link(kind: str, url: str) -> Broker:
    """Return a connection to the broker of that kind, or the bare one."""
    return Bare(url) if kind == BARE else broker(kind, url)


def main(kind: str, url: str) -> None:
    """Echo until standard input closes."""
    outlive_signals()
    there = link(kind, url)
    there.take(THERE, most=1, wait_s=0)
    print("ready", flush=True)
    stopping = threading.Event()
    threading.Thread(target=_await_end, args=(stopping,), daemon=True).start()
    reply = bytes(REPLY_BYTES)
    while not stopping.is_set():
        taken = there.take(THERE, most=MOST, wait_s=0.2)
        if taken:
            there.put(BACK, [reply] * len(taken))
    there.close()


def _await_end(stopping: threading.Event) -> None:
    sys.stdin.read()
    stopping.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
