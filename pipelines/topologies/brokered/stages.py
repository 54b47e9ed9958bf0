"""The two stages of a chain, between a broker's topics: what each does with the messages it takes.

Every request that cannot be served gets a Failure. Where a stage raises BrokerError, the broker
does not have all of what came of the messages.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from pipelines import tasks
from pipelines.brokers import Broker
from pipelines.engines.engine import Engine
from pipelines.errors import VisiontaxError
from pipelines.spans import Span
from pipelines.tasks.tensors import Pixels
from pipelines.topologies.brokered import messages
from pipelines.topologies.brokered.packing import Packing
from pipelines.topologies.outcome import Outcome
from pipelines.topologies.scenario import Setup
from pipelines.topologies.steps import Crops, FirstOfChain, SecondStage

IN_FLIGHT = 64
"""How many crops may wait for a second stage before a first stage holds back."""


class Valve:
    """Holds a first stage back while more than `limit` messages of a topic are unacknowledged.

    Asks the broker only when what this process put since it last asked could exceed the limit.
    """

    def __init__(self, link: Broker, topic: str, *, limit: int) -> None:
        self._link, self._topic, self._limit = link, topic, limit
        self._most = 0

    def wait(self, count: int) -> None:
        """Return when `count` more may be put; more than the limit may when none are there."""
        self._most += count
        while self._most > self._limit:
            depth = self._link.depth(self._topic)
            self._most = depth + count
            if depth == 0:
                return
            if self._most > self._limit:
                time.sleep(0.002)


class First:
    """Takes images, finds their regions, and puts the crops on for the second stage."""

    def __init__(self, link: Broker, ask: Engine, setup: Setup) -> None:
        self._link, self._packing = link, Packing(setup)
        self._stage = FirstOfChain(ask, setup, where="first")
        self._crops = messages.crops_topic(setup.pipeline)
        self._valve = Valve(link, self._crops, limit=IN_FLIGHT)
        self.topic, self.most = messages.images_topic(setup.pipeline), 1
        self.close = self._packing.close

    def work(self, taken: Sequence[bytes], *, taken_ns: int) -> None:
        """Serve the images that were taken off the broker at `taken_ns`."""
        for image in messages.readable(taken, messages.decode_image):
            try:
                self._serve(image, taken_ns=taken_ns)
            except Exception as error:  # whatever it is, no other image shall suffer
                put_all(self._link, [messages.given_up(image, error)])

    def _serve(self, image: messages.Image, *, taken_ns: int) -> None:
        outcome = Outcome(None, spans=messages.hop(image.sent, to="first", taken_ns=taken_ns))
        outcome.spans.append(Span("consume", taken_ns, time.monotonic_ns(), "first"))
        regions, crops = self._stage(image.jpeg, request_id=image.request, outcome=outcome)
        self._publish(crops, image, outcome)
        start = time.monotonic_ns()
        reply = messages.FirstReply(
            image.request,
            shape=regions.shape,
            content=regions.tobytes(),
            trail=outcome.trail(),
            sent=messages.sent_now(start),
        )
        self._link.put(image.reply_to, [messages.encode(reply)])

    def _publish(self, crops: Crops, image: messages.Image, outcome: Outcome) -> None:
        if not len(crops):
            return
        start = time.monotonic_ns()
        self._valve.wait(len(crops))
        waited = time.monotonic_ns()
        contents = self._packing.pack(crops)
        packed = time.monotonic_ns()
        outcome.spans.append(Span("broker", start, waited, "first"))  # it is full
        if self._packing.form == "jpeg":
            outcome.spans.append(Span("encode", waited, packed, "first", len(crops)))
            waited = packed
        sent = messages.sent_now(waited, together=len(crops))
        made = (
            messages.Crop(image.request, image.reply_to, index, self._packing.form, content, sent)
            for index, content in enumerate(contents)
        )
        self._link.put(self._crops, [messages.encode(crop) for crop in made])


class Second:
    """Takes crops of whatever requests, in batches, and replies to their askers."""

    def __init__(self, link: Broker, ask: Engine, setup: Setup) -> None:
        self._link, self._packing = link, Packing(setup)
        self._chain = tasks.chain(setup.pipeline)
        self._stage = SecondStage(ask, self._chain, where="second")
        self.topic, self.most = messages.crops_topic(setup.pipeline), setup.batch
        self.close = self._packing.close
        self._number = 0

    def work(self, taken: Sequence[bytes], *, taken_ns: int) -> None:
        """Serve the crops that were taken off the broker at `taken_ns`."""
        crops = messages.readable(taken, messages.decode_crop)
        unpacked = self._packing.unpack(crops, self._chain.second.input)
        consumed_ns = time.monotonic_ns()
        good: list[tuple[messages.Crop, Pixels]] = []
        for crop, content in zip(crops, unpacked, strict=True):
            if isinstance(content, VisiontaxError):
                put_all(self._link, [messages.given_up(crop, content)])
            else:
                good.append((crop, content))
        if good:
            stage = "decode" if good[0][0].form == "jpeg" else "consume"
            before = Span(stage, taken_ns, consumed_ns, "second", len(crops))
            self._answer(good, taken_ns=taken_ns, before=before)
        self._packing.drop(crops)

    def _answer(
        self, crops: list[tuple[messages.Crop, Pixels]], *, taken_ns: int, before: Span
    ) -> None:
        """Read the crops together; should that fail, one by one, so that none fails another."""
        self._number += 1
        outcome = Outcome(None, spans=[before])
        first, _ = crops[0]
        request_id = f"{first.request}/{first.index}/{self._number}"
        try:
            pixels = np.stack([pixels for _, pixels in crops])
            answers = self._stage(pixels, request_id=request_id, outcome=outcome)
        except Exception as error:
            if len(crops) == 1:
                put_all(self._link, [messages.given_up(first, error)])
            else:
                for each in crops:
                    self._answer([each], taken_ns=taken_ns, before=before)
            return
        trail, start = outcome.trail(), time.monotonic_ns()
        readings: dict[tuple[str, str], list[messages.Reading]] = defaultdict(list)
        for (crop, _), answer in zip(crops, answers, strict=True):
            reading = messages.Reading(crop.index, answer, crop.sent)
            readings[crop.request, crop.reply_to].append(reading)
        sent = messages.sent_now(start, together=len(crops))
        put_all(
            self._link,
            (
                (topic, messages.encode(messages.SecondReply(request, read, taken_ns, trail, sent)))
                for (request, topic), read in readings.items()
            ),
        )


def put_all(link: Broker, addressed: Iterable[tuple[str, bytes]]) -> None:
    """Put each message on its topic, those of one topic together."""
    by_topic: dict[str, list[bytes]] = defaultdict(list)
    for topic, message in addressed:
        by_topic[topic].append(message)
    for topic, together in by_topic.items():
        link.put(topic, together)
