"""What comes back for a request through a broker: each crop's answer counted once, and the spans of
everything that was done for it.
"""

import threading
import time
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace

from pipelines.spans import Span
from pipelines.tasks import Chain, Readings
from pipelines.topologies.brokered import messages
from pipelines.topologies.outcome import Outcome


@dataclass(frozen=True)
class Arrived:
    """A reply, when it was taken off the broker, and when it was unpacked."""

    reply: messages.FirstReply | messages.SecondReply
    taken_ns: int
    unpacked_ns: int


@dataclass
class Pending:
    """A request in flight and what has come back for it so far."""

    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    found: Arrived | None = None
    answers: dict[int, tuple[Arrived, messages.SecondReply, messages.Reading]] = field(
        default_factory=dict
    )
    last: Arrived | None = None
    received_bytes: int = 0

    def add(self, arrived: Arrived) -> None:
        """Count what is new of a reply; what comes again after a takeover is not."""
        if self.done.is_set():
            return
        reply = arrived.reply
        before = (self.found is None, len(self.answers))
        if isinstance(reply, messages.FirstReply):
            self.found = self.found or arrived
        else:
            for reading in reply.readings:
                self.answers.setdefault(reading.index, (arrived, reply, reading))
        if before != (self.found is None, len(self.answers)):
            self.last = arrived
        found = self.found.reply if self.found else None
        if isinstance(found, messages.FirstReply) and len(self.answers) >= found.shape[0]:
            self.done.set()

    def fail(self, error: Exception, *, index: int | None = None) -> None:
        """End the request without an answer, unless it is over a crop that has been answered."""
        if not self.done.is_set() and index not in self.answers:
            self.error = error
            self.done.set()


def gather(chain: Chain, pending: Pending) -> Outcome:
    """Return the answer, and the spans of everything that was done for it.

    Critical is what was done for the crop that was answered last: the request waited for no other.
    """
    found, last = pending.found, pending.last
    assert found is not None
    assert last is not None
    regions = found.reply
    assert isinstance(regions, messages.FirstReply)
    outcome = Outcome(None, spans=list(regions.trail.spans), calls=list(regions.trail.calls))
    outcome.spans += _arrival(found, critical=found is last)
    decided = False
    for arrived, reply, reading in pending.answers.values():
        # The first stage replies once it has put the crops: who waits for it waits for that too.
        waited = not decided and last in (found, arrived)
        decided = decided or waited
        outcome.spans += messages.hop(
            reading.sent, to="second", taken_ns=reply.taken_ns, critical=waited
        )
        critical = waited and arrived is last
        spans, calls = reply.trail.spans, reply.trail.calls
        outcome.spans += spans if critical else [replace(one, critical=False) for one in spans]
        outcome.calls += calls if critical else [replace(one, critical=False) for one in calls]
        outcome.spans += _arrival(arrived, critical=critical, items=len(reply.readings))
    count = len(pending.answers)
    answers = [pending.answers[index][2].answer for index in range(count)]
    array = np.frombuffer(regions.content, np.float32).reshape(regions.shape)
    outcome.answer = Readings(chain, array, answers)
    gathered = Span("gather", last.unpacked_ns, time.monotonic_ns(), "client", max(1, count))
    outcome.spans.append(gathered)
    return outcome


def _arrival(arrived: Arrived, *, critical: bool, items: int = 1) -> list[Span]:
    taken_ns, unpacked_ns = arrived.taken_ns, arrived.unpacked_ns
    publish, broker = messages.hop(
        arrived.reply.sent, to="client", taken_ns=taken_ns, items=items, critical=critical
    )
    return [publish, broker, Span("consume", taken_ns, unpacked_ns, "client", items, critical)]
