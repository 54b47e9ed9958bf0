"""The words of the ledger: stages, spans and requests. Nothing here computes or measures.

All times are integer nanoseconds of CLOCK_MONOTONIC, which Python's `time.monotonic_ns()` and
Triton's trace share on one host.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec


@dataclass(frozen=True)
class Stage:
    """One word of the ledger.

    Where spans of one request overlap, the instant goes to the stage with the highest `priority`.
    """

    name: str
    priority: int
    meaning: str


_INFERENCE, _COPY, _PREPROCESS, _QUEUE, _BROKER, _TRANSFER, _ALL = 6, 5, 4, 3, 2, 1, 0

STAGES: dict[str, Stage] = {
    name: Stage(name, priority, meaning)
    for name, priority, meaning in (
        ("schedule", _TRANSFER, "due to started: the load generator was late"),
        ("encode", _TRANSFER, "building and serialising the request"),
        ("send", _TRANSFER, "client starts to send until the server has received and unpacked all"),
        ("publish", _BROKER, "building a message, until the broker's client has it"),
        ("broker", _BROKER, "with the broker: sent, stored, waiting, delivered"),
        ("consume", _BROKER, "unpacking a message that was taken off the broker"),
        ("queue", _QUEUE, "waiting for a scheduler, a batch, or the rest of a batch"),
        ("input", _COPY, "tensors handed to the model"),
        ("preprocess", _PREPROCESS, "decode, resize and normalize in one box"),
        ("decode", _PREPROCESS, "compressed bytes to pixels"),
        ("resize", _PREPROCESS, "pixels cropped and scaled to the model's size"),
        ("normalize", _PREPROCESS, "pixels to the model's float tensor"),
        ("inference", _INFERENCE, "inside the DNN"),
        ("output", _COPY, "results copied out of the model"),
        ("postprocess", _PREPROCESS, "raw outputs to an answer: top-k, boxes, masks"),
        ("gather", _BROKER, "putting the answers of all crops together"),
        ("server", _ALL, "with a server that cannot be seen into, and on the way there and back"),
        ("receive", _TRANSFER, "server starts to send until the client has all"),
        ("parse", _TRANSFER, "unpacking the reply"),
    )
}
"""Every stage by name, in the order in which a request passes them. `other` is what is left."""

OTHER, SERVER = "other", "server"

HOP = ("publish", "broker", "consume")
"""The stages of a message on its way from who packs it to who unpacks it."""


Nanoseconds = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
"""What is read as one must be within these bounds."""


class Span(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An interval of one request spent in one stage.

    `where`: the model or process.
    `items`: how many images or crops shared the work.
    `critical`: false of what was done for a crop that was not the last one to be answered: it is
    work, but the request did not wait for it.
    """

    stage: str
    start_ns: Nanoseconds
    end_ns: Nanoseconds
    where: str
    items: Count = 1
    critical: bool = True


class Call(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One exchange with Triton on behalf of a request, under the id that Triton's trace carries.

    `sent_ns` and `received_ns` bound it on the caller's side; the rest is as in Span.
    """

    id: str
    sent_ns: Nanoseconds
    received_ns: Nanoseconds
    items: Count = 1
    critical: bool = True


class Trail(msgspec.Struct, array_like=True, frozen=True):
    """What one process did for a request: it travels with the answer, packed."""

    spans: list[Span] = []
    calls: list[Call] = []


class Request(msgspec.Struct, gc=False):
    """One request as the client saw it; one line of `requests-*.jsonl`.

    `due_ns`: when it should have started.
    `error`: the reason it failed, or None.
    `bytes_in`, `bytes_out`: sizes of the request's and the reply's body as the client had them.
    `image`: the number of the image in the run's list, from 0; None in older records.
    """

    id: str
    pipeline: str
    due_ns: Nanoseconds
    start_ns: Nanoseconds
    end_ns: Nanoseconds
    error: str | None
    bytes_in: Count
    bytes_out: Count
    spans: list[Span]
    calls: list[Call]
    image: Count | None = None
