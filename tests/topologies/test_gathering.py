"""What is gathered of a request's replies, in whichever order, and however often, they come."""

import itertools
from collections import defaultdict

import numpy as np
import pytest

from pipelines.errors import EngineError
from pipelines.spans import Call, Span, Trail
from pipelines.tasks import chain
from pipelines.topologies.brokered.gathering import Arrived, Pending, gather
from pipelines.topologies.brokered.messages import FirstReply, Reading, SecondReply, Sent

FACES = chain("faces")
MS = 1_000_000


def regions(count: int, *, taken_ms: int) -> Arrived:
    """The first stage's reply; its work began at 0 and it had put the crops after 10 ms."""
    found = np.arange(15 * count, dtype=np.float32)
    trail = Trail([Span("inference", 0, 10 * MS, "first")], [Call("r", 0, 10 * MS)])
    sent = Sent(12 * MS, 13 * MS)
    reply = FirstReply("r", (count, 15), found.tobytes(), trail, sent)
    return Arrived(reply, taken_ms * MS, taken_ms * MS)


def readings(*indices: int, taken_ms: int, by: str = "one", batch: int = 0) -> Arrived:
    """The second stage's reply about some crops; it worked on the batch for 5 ms before."""
    sent = Sent(10 * MS, 11 * MS, together=4)
    end = (taken_ms - 1) * MS
    count = batch or len(indices)
    trail = Trail(
        [Span("inference", end - 5 * MS, end, "second", count)],
        [Call(by, end - 5 * MS, end, count)],
    )
    read = [Reading(index, f"{by} {index}".encode(), sent) for index in indices]
    reply = SecondReply("r", read, end - 5 * MS, trail, Sent(end, end, together=count))
    return Arrived(reply, taken_ms * MS, taken_ms * MS)


def gathered(*replies: Arrived) -> Pending:
    pending = Pending()
    for reply in replies:
        assert not pending.done.is_set()
        pending.add(reply)
    assert pending.done.is_set()
    return pending


REPLIES = (
    regions(4, taken_ms=14),
    readings(2, taken_ms=20),
    readings(0, 1, taken_ms=27),
    readings(3, taken_ms=35),
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_order_of_replies_does_not_matter(order: tuple[int, ...]) -> None:
    answer = gather(FACES, gathered(*(REPLIES[number] for number in order))).answer
    assert answer.answers == [b"one 0", b"one 1", b"one 2", b"one 3"]
    assert answer.regions.shape == (4, 15)


def test_an_image_without_regions_is_answered_by_the_first_stage_alone() -> None:
    answer = gather(FACES, gathered(regions(0, taken_ms=14))).answer
    assert (answer.answers, answer.regions.shape) == ([], (0, 15))


def test_what_comes_again_after_a_takeover_is_not_counted() -> None:
    pending = gathered(
        readings(0, 1, taken_ms=20),
        regions(3, taken_ms=21),
        readings(0, 1, taken_ms=22, by="another"),
        regions(3, taken_ms=23),
        readings(1, 2, taken_ms=24, by="another"),
    )
    pending.add(readings(0, taken_ms=30, by="a third"))
    outcome = gather(FACES, pending)
    assert outcome.answer.answers == [b"one 0", b"one 1", b"another 2"]
    assert max(span.end_ns for span in outcome.spans if span.stage == "broker") == 24 * MS


def test_a_failure_ends_the_request() -> None:
    pending = Pending()
    pending.add(regions(2, taken_ms=14))
    pending.fail(EngineError("broken"), index=1)
    assert pending.done.is_set()
    assert str(pending.error) == "broken"
    pending.add(readings(0, 1, taken_ms=20))
    assert pending.answers == {}


def test_a_failure_over_a_crop_that_was_answered_before_a_takeover_is_none() -> None:
    pending = Pending()
    pending.add(regions(2, taken_ms=14))
    pending.add(readings(1, taken_ms=20))
    pending.fail(EngineError("the crop is gone"), index=1)
    assert not pending.done.is_set()
    pending.add(readings(0, taken_ms=21))
    assert gather(FACES, pending).answer.answers == [b"one 0", b"one 1"]


def test_critical_is_the_way_of_the_crop_that_was_answered_last() -> None:
    outcome = gather(FACES, gathered(*REPLIES))
    arrivals = [s for s in outcome.spans if (s.stage, s.where) == ("broker", "client")]
    assert [span.end_ns for span in arrivals if span.critical] == [35 * MS]
    assert [call.id for call in outcome.calls if call.critical] == ["r", "one"]
    critical = [call.received_ns for call in outcome.calls if call.critical]
    assert critical == [10 * MS, 34 * MS]
    assert covered(outcome.spans, until_ns=35 * MS)


def test_when_the_regions_come_last_the_crops_on_their_way_were_waited_for() -> None:
    outcome = gather(
        FACES, gathered(readings(0, taken_ms=18), readings(1, taken_ms=19), regions(2, taken_ms=25))
    )
    assert [call.id for call in outcome.calls if call.critical] == ["r"]
    assert covered(outcome.spans, until_ns=25 * MS)


def covered(spans: list[Span], *, until_ns: int) -> bool:
    """Whether the critical spans leave no moment out."""
    at = 0
    for span in sorted(spans, key=lambda span: span.start_ns):
        if span.critical and span.start_ns <= at:
            at = max(at, span.end_ns)
    return at >= until_ns


def test_the_work_of_a_request_is_its_crops_share_of_each_batch() -> None:
    # Of a batch of 4, two are another request's; one reply is about two crops.
    outcome = gather(
        FACES,
        gathered(
            regions(3, taken_ms=14),
            readings(0, 1, taken_ms=20, batch=4),
            readings(2, taken_ms=30),
        ),
    )
    work: dict[tuple[str, str], float] = defaultdict(float)
    for span in outcome.spans:
        work[span.stage, span.where] += (span.end_ns - span.start_ns) / span.items / MS
    assert work["inference", "first"] == 10
    assert work["inference", "second"] == 2 * 5 / 4 + 5
    assert work["broker", "client"] == pytest.approx(1 + 1 + 1)  # a reply is one message
    assert work["broker", "second"] == pytest.approx(2 * (20 - 6 - 11) + (30 - 6 - 11))
