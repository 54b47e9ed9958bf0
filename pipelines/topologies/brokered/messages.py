"""What travels through a broker: images to the first stage, crops to the second, replies back.

Every message carries when its sender began to pack it and when it gave it to the broker's client.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from pipelines.errors import words
from pipelines.spans import Span, Trail

T = TypeVar("T")


class Sent(msgspec.Struct, array_like=True, frozen=True):
    """When a message was packed and given to the broker, and how many were packed together."""

    start_ns: int
    put_ns: int
    together: int = 1


class Image(msgspec.Struct, array_like=True, frozen=True):
    """A JPEG for the first stage; `reply_to` is the asker's topic."""

    request: str
    reply_to: str
    jpeg: bytes
    sent: Sent


class Crop(msgspec.Struct, array_like=True, frozen=True):
    """One of a request's crops, in one of the FORMS, for the second stage."""

    request: str
    reply_to: str
    index: int
    form: str
    content: bytes
    sent: Sent


class FirstReply(msgspec.Struct, array_like=True, frozen=True, tag="regions"):
    """From the first stage: the regions, FP32 of that shape, whose crops are on their way."""

    request: str
    shape: tuple[int, int]
    content: bytes
    trail: Trail
    sent: Sent


class Reading(msgspec.Struct, array_like=True, frozen=True):
    """The second DNN's packed answer about a crop, and when that crop was sent."""

    index: int
    answer: bytes
    sent: Sent


class SecondReply(msgspec.Struct, array_like=True, frozen=True, tag="readings"):
    """From the second stage: the answers about those of a request's crops that were in one batch.

    The batch was taken off the broker at `taken_ns`; `trail` is what all of it shared.
    """

    request: str
    readings: list[Reading]
    taken_ns: int
    trail: Trail
    sent: Sent


class Failure(msgspec.Struct, array_like=True, frozen=True, tag="failure"):
    """From either stage: the request, or the crop of that index, cannot be answered."""

    request: str
    index: int | None
    error: str


Reply = FirstReply | SecondReply | Failure

encode = msgspec.msgpack.Encoder().encode
decode_image = msgspec.msgpack.Decoder(Image).decode
decode_crop = msgspec.msgpack.Decoder(Crop).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


STAGES = ("first", "second")
"""The workers of a chain: who finds regions, and who reads them."""


def images_topic(chain: str) -> str:
    """Return where the first stage takes images."""
    return f"{chain}-images"


def crops_topic(chain: str) -> str:
    """Return where the second stage takes crops."""
    return f"{chain}-crops"


def sent_now(start_ns: int, *, together: int = 1) -> Sent:
    """Return the stamp of messages whose packing began at `start_ns` and that are put now."""
    return Sent(start_ns, time.monotonic_ns(), together)


def hop(sent: Sent, *, to: str, taken_ns: int, items: int = 1, critical: bool = True) -> list[Span]:
    """Return the spans of a message about `items` from its sender to its taker, which is `to`."""
    return [
        Span("publish", sent.start_ns, sent.put_ns, to, sent.together, critical),
        Span("broker", sent.put_ns, taken_ns, to, items, critical),
    ]


def given_up(item: Image | Crop, error: Exception) -> tuple[str, bytes]:
    """Return the Failure of an image or a crop, with the topic it goes to."""
    if isinstance(item, Image):
        return item.reply_to, encode(Failure(item.request, None, words(error)))
    said = f"crop {item.index}: {words(error)}"
    return item.reply_to, encode(Failure(item.request, item.index, said))


def readable(taken: Sequence[bytes], decode: Callable[[bytes], T]) -> list[T]:
    """Return the messages decoded; what is none of ours cannot be answered, and is dropped."""
    decoded = []
    for data in taken:
        try:
            decoded.append(decode(data))
        except msgspec.MsgspecError as error:
            print(f"dropped a message of {len(data)} bytes: {error}", file=sys.stderr, flush=True)
    return decoded
