"""A chain whose stages are processes of their own, with a message broker before each of them.

The client puts the image on the broker and gathers what comes back on a topic of its own: the
regions from the first stage, the answers about them from the second.
"""

import threading
import time
import uuid

from pipelines import processes, tasks
from pipelines.brokers import REPLIES, broker
from pipelines.errors import BrokerError, EngineError
from pipelines.topologies.brokered import messages
from pipelines.topologies.brokered.gathering import Arrived, Pending, gather
from pipelines.topologies.outcome import Outcome
from pipelines.topologies.scenario import Setup

TIMEOUT_S = 30.0
"""After so long a request that is not answered has failed."""

_WAIT_S = 0.5
_MOST = 256


class Collector:
    """Takes the replies of all users of this process off their one topic."""

    def __init__(self, kind: str, url: str) -> None:
        self.topic = f"{REPLIES}-{processes.owner()}-{uuid.uuid4().hex[:8]}"
        self._link = broker(kind, url)
        self._pending: dict[str, Pending] = {}
        self._stopping = False
        self._link.take(self.topic, most=1, wait_s=0)  # so that the topic is there
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def expect(self, request_id: str) -> Pending:
        """Return what will gather the request's replies."""
        self._pending[request_id] = pending = Pending()
        return pending

    def forget(self, request_id: str) -> None:
        """Expect no more of a request that is over."""
        self._pending.pop(request_id, None)

    def _collect(self) -> None:
        while not self._stopping:
            try:
                taken = self._link.take(self.topic, most=_MOST, wait_s=_WAIT_S)
            except BrokerError as error:
                for pending in list(self._pending.values()):
                    pending.fail(error)
                time.sleep(0.1)
                continue
            taken_ns = time.monotonic_ns()
            for data in taken:
                self._hand_out(data, taken_ns=taken_ns)

    def _hand_out(self, data: bytes, *, taken_ns: int) -> None:
        reply = messages.decode_reply(data)
        pending = self._pending.get(reply.request)
        if pending is None:
            return  # it has failed, or was answered before a takeover
        pending.received_bytes += len(data)
        if isinstance(reply, messages.Failure):
            pending.fail(EngineError(reply.error), index=reply.index)
        else:
            pending.add(Arrived(reply, taken_ns, time.monotonic_ns()))

    def close(self) -> None:
        """Stop taking."""
        self._stopping = True
        self._thread.join()
        self._link.close()


class Brokered:
    """The topologies with a broker, as one user runs them."""

    def __init__(self, setup: Setup) -> None:
        self._chain = tasks.chain(setup.pipeline)
        self._key = (str(setup.topology), str(setup.broker))
        self._link = broker(*self._key)
        self._topic = messages.images_topic(setup.pipeline)
        self._collector = _collector_of(self._key)

    def __call__(self, image: bytes, *, request_id: str) -> Outcome:
        """Return the Readings of an image's regions."""
        pending = self._collector.expect(request_id)
        try:
            start = time.monotonic_ns()
            sent = messages.sent_now(start)
            message = messages.encode(
                messages.Image(request_id, self._collector.topic, image, sent)
            )
            self._link.put(self._topic, [message])
            if not pending.done.wait(TIMEOUT_S):
                raise BrokerError(
                    f"no answer through the broker after {TIMEOUT_S:.0f} s",
                    hint="are the workers of both stages running?",
                )
            if pending.error is not None:
                raise pending.error
            outcome = gather(self._chain, pending)
        finally:
            self._collector.forget(request_id)
        outcome.bytes_in, outcome.bytes_out = len(message), pending.received_bytes
        return outcome

    def close(self) -> None:
        """Hang up; the last user of the process stops the collector."""
        self._link.close()
        _release(self._key)


_collectors: dict[tuple[str, str], list[Collector]] = {}
_making = threading.Lock()  # to make one takes a round trip, in which other users come by


def _collector_of(key: tuple[str, str]) -> Collector:
    """The process's collector for a broker, made for its first user."""
    with _making:
        users = _collectors.setdefault(key, [])
        users.append(users[0] if users else Collector(*key))
        return users[0]


def _release(key: tuple[str, str]) -> None:
    with _making:
        users = _collectors.get(key, [])
        if users:
            last = users.pop()
            if not users:
                last.close()
