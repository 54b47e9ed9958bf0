"""The process of the memory broker: `python -m pipelines.brokers.memory_server --port N`.

Messages are in it until they are acknowledged. Those that a taker holds come again when its
connection ends, or when it has not asked again for as long as it said.
"""

import asyncio
import contextlib
from collections import Counter, defaultdict, deque

import click
import msgspec

from pipelines import processes
from pipelines.brokers.memory import LENGTH_BYTES, Acknowledge, Depth, Put, Request, Take, frame

_requests = msgspec.msgpack.Decoder(Request)


class Store:
    """The messages of all topics, and who waits for some."""

    def __init__(self) -> None:
        self.waiting: defaultdict[str, deque[bytes]] = defaultdict(deque)
        self.takers: defaultdict[str, deque[Connection]] = defaultdict(deque)
        self.held: Counter[str] = Counter()
        """How many messages of each topic are with takers."""

    def put(self, topic: str, messages: list[bytes]) -> None:
        """Add new messages."""
        self.waiting[topic].extend(messages)
        self._serve(topic)

    def give_back(self, topic: str, messages: list[bytes]) -> None:
        """Add messages that were taken and not acknowledged; they come first."""
        self.held[topic] -= len(messages)
        self.waiting[topic].extendleft(reversed(messages))
        self._serve(topic)

    def take(self, topic: str, most: int) -> list[bytes]:
        """Return up to `most` messages, possibly none."""
        waiting = self.waiting[topic]
        taken = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        self.held[topic] += len(taken)
        return taken

    def _serve(self, topic: str) -> None:
        takers = self.takers[topic]
        while takers and self.waiting[topic]:
            takers.popleft().serve()


class Connection(asyncio.Protocol):
    """One user of the broker, who asks one thing at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._received = bytearray()
        self._take = Take("", 0, 0.0, 0.0)
        self._held: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._later = asyncio.get_running_loop().call_later

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        received = self._received
        received += data
        while len(received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(received[:LENGTH_BYTES], "big")
            if len(received) < end:
                return
            request = _requests.decode(memoryview(received)[LENGTH_BYTES:end])
            del received[:end]
            self._answer(request)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Hand on what the user held."""
        self._forget()
        self._overdue()

    def serve(self) -> None:
        """Answer the Take with the messages that there are, and expect the next in time."""
        self._forget()
        self._held = self._store.take(self._take.topic, self._take.most)
        self._transport.write(frame(self._held))
        if self._held:
            self._timer = self._later(self._take.takeover_s, self._overdue)

    def _answer(self, request: Request) -> None:
        match request:
            case Put():
                self._store.put(request.topic, list(request.messages))
                self._transport.write(frame([]))
            case Depth():
                depth = len(self._store.waiting[request.topic]) + self._store.held[request.topic]
                self._transport.write(frame(depth))
            case Acknowledge():
                self._acknowledge()
                self._transport.write(frame([]))
            case Take():
                self._acknowledge()
                self._take = request
                if self._store.waiting[request.topic] or request.wait_s <= 0:
                    self.serve()
                else:
                    self._store.takers[request.topic].append(self)
                    self._timer = self._later(request.wait_s, self.serve)

    def _acknowledge(self) -> None:
        self._store.held[self._take.topic] -= len(self._held)
        self._held = []
        self._forget()

    def _overdue(self) -> None:
        held, self._held = self._held, []
        self._store.give_back(self._take.topic, held)

    def _forget(self) -> None:
        """Neither wait for messages nor for the next request."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with contextlib.suppress(ValueError):
            self._store.takers[self._take.topic].remove(self)


async def serve(port: int) -> None:
    """Serve on `port` of HOST for ever."""
    store = Store()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(store), processes.HOST, port
    )
    await server.serve_forever()


@click.command()
@click.option("--port", type=int, required=True)
def main(port: int) -> None:
    """Run the memory broker until SIGTERM or SIGINT."""
    processes.end_on_signals()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(port))


if __name__ == "__main__":
    main()
