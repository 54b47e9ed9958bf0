"""The far end of `bench selfcheck brokers`, a process of its own: a reply for every message.

`python -m bench.commands.selfcheck.echo KIND URL` ends when its standard input closes.
"""

import contextlib
import sys
import threading
from collections.abc import Sequence

import redis

from pipelines.brokers import REPLIES, Broker, broker
from pipelines.brokers.redis_line import Line
from pipelines.processes import outlive_signals

BARE = "bare"
"""Redis with nothing but XADD and XREADGROUP: no acknowledging, no taking over, no errors."""

THERE, BACK = "echo-there", f"{REPLIES}-echo"
REPLY_BYTES = 1_500
"""About what a second stage replies about one face."""

MOST = 64
_GROUP = "echo"


class Bare:
    """A Broker in form only: what Redis itself takes for a message through a stream, asked over the
    same line as by our brokers.
    """

    def __init__(self, url: str) -> None:
        self._line = Line(url)
        self._groups: set[str] = set()

    def put(self, topic: str, messages: Sequence[bytes]) -> None:
        """XADD each message."""
        self._line.ask(*(("XADD", topic, "MAXLEN", "~", 1000, "*", b"m", one) for one in messages))

    def take(self, topic: str, *, most: int, wait_s: float) -> list[bytes]:
        """XREADGROUP, acknowledged by the reading itself."""
        if topic not in self._groups:
            with contextlib.suppress(redis.ResponseError):  # it is there
                self._line.ask(("XGROUP", "CREATE", topic, _GROUP, "$", "MKSTREAM"))
            self._groups.add(topic)
        how = ("COUNT", most, "BLOCK", max(1, int(1000 * wait_s)), "NOACK", "STREAMS", topic, ">")
        (read,) = self._line.ask(("XREADGROUP", "GROUP", _GROUP, "one", *how))
        return [fields[1] for _, entries in read or () for _, fields in entries]

    def depth(self, topic: str) -> int:
        """XLEN."""
        return int(self._line.ask(("XLEN", topic))[0])

    def close(self) -> None:
        """Hang up."""
        self._line.close()


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
