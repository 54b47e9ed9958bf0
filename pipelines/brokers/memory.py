"""The least that a broker between processes can cost: queues in the memory of a process of ours.

This is its client; `python -m pipelines.brokers.memory_server` is the process. They exchange
frames: four bytes of length, most significant first, then MessagePack.
"""

import contextlib
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from pipelines.brokers import Broker
from pipelines.errors import BrokerError

LENGTH_BYTES = 4
PATIENCE_S = 10.0
"""An answer that is so late will not come."""


class Put(msgspec.Struct, array_like=True, tag=True):
    """Answered with []."""

    topic: str
    messages: Sequence[bytes]


class Take(msgspec.Struct, array_like=True, tag=True):
    """Acknowledges the messages of the Take before; answered with messages."""

    topic: str
    most: int
    wait_s: float
    takeover_s: float


class Depth(msgspec.Struct, array_like=True, tag=True):
    """Answered with a number."""

    topic: str


class Acknowledge(msgspec.Struct, array_like=True, tag=True):
    """Acknowledges the messages of the Take before; answered with []."""


Request = Put | Take | Depth | Acknowledge

_encoder = msgspec.msgpack.Encoder()


def frame(content: object) -> bytearray:
    """Return the frame of a request or an answer."""
    made = bytearray(LENGTH_BYTES)
    _encoder.encode_into(content, made, LENGTH_BYTES)
    made[:LENGTH_BYTES] = (len(made) - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "big")
    return made


class MemoryBroker(Broker):
    """A connection to that process."""

    def __init__(self, url: str, *, takeover_s: float) -> None:
        self._url = url
        self._takeover_s = takeover_s
        self._socket: socket.socket | None = None

    def put(self, topic: str, messages: Sequence[bytes]) -> None:
        self._ask(Put(topic, messages))

    def take(self, topic: str, *, most: int, wait_s: float) -> list[bytes]:
        taken: list[bytes] = self._ask(
            Take(topic, most, wait_s, self._takeover_s), patience_s=wait_s + PATIENCE_S
        )
        return taken

    def depth(self, topic: str) -> int:
        return int(self._ask(Depth(topic)))

    def close(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(BrokerError):
                self._ask(Acknowledge())
        self._hang_up()

    def _ask(self, request: Request, *, patience_s: float = PATIENCE_S) -> Any:
        try:
            link = self._socket = self._socket or self._connect()
            link.settimeout(patience_s)
            link.sendall(frame(request))
            length = int.from_bytes(_receive(link, LENGTH_BYTES), "big")
            return msgspec.msgpack.decode(_receive(link, length))
        except OSError as error:
            self._hang_up()
            raise BrokerError(
                f"the memory broker at {self._url} does not answer: {error}", hint="is it running?"
            ) from error

    def _connect(self) -> socket.socket:
        host, _, port = self._url.rpartition(":")
        link = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _receive(link: socket.socket, count: int) -> bytearray:
    received = bytearray(count)
    rest = memoryview(received)
    while rest:
        got = link.recv_into(rest)
        if not got:
            raise ConnectionError("it hung up")
        rest = rest[got:]
    return received
