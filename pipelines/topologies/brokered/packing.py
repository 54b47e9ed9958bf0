"""How crops travel between the stages: as raw pixels, as JPEG, or by reference (a claim check)."""

import contextlib
import math
from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np

from pipelines.brokers.claims import Claims
from pipelines.errors import BrokerError, ImageError, VisiontaxError
from pipelines.preprocess import formats
from pipelines.tasks.tensors import ModelInput, Pixels
from pipelines.topologies.brokered.messages import Crop
from pipelines.topologies.scenario import Setup
from pipelines.topologies.steps import Crops

QUALITY = 95
"""Of crops as JPEG."""


class Packing:
    """Packs crops into messages' contents and back."""

    def __init__(self, setup: Setup) -> None:
        self.form = setup.crops
        self._claims = Claims(setup.claims) if setup.claims else None

    def pack(self, crops: Crops) -> list[bytes]:
        """Return what goes into the messages, a crop each."""
        if self.form == "jpeg":
            return [_to_jpeg(crop) for crop in crops]
        raw = [crop.tobytes() for crop in crops]
        if self.form == "raw" or not raw:
            return raw
        return [key.encode() for key in self._known().keep(raw)]

    def unpack(
        self, messages: Sequence[Crop], model_input: ModelInput
    ) -> list[Pixels | VisiontaxError]:
        """Return the pixels of each message, or why it has none."""
        keys = [_key(message) for message in messages if message.form == "reference"]
        fetched = iter(self._fetch(keys))
        return [
            _opened(
                next(fetched) if message.form == "reference" else message.content,
                message.form,
                model_input,
            )
            for message in messages
        ]

    def drop(self, messages: Sequence[Crop]) -> None:
        """Forget what answered messages refer to."""
        keys = [_key(message) for message in messages if message.form == "reference"]
        if keys and self._claims:
            with contextlib.suppress(BrokerError):  # then they expire
                self._claims.drop(keys)

    def _fetch(self, keys: Sequence[str]) -> list[bytes | VisiontaxError]:
        if not keys:
            return []
        try:
            kept = self._known().fetch(keys)
        except VisiontaxError as error:
            return [error] * len(keys)
        gone = ImageError("the crop is gone: Redis does not keep it any more")
        return [gone if content is None else content for content in kept]

    def _known(self) -> Claims:
        if self._claims is None:
            raise VisiontaxError(
                "crops by reference need a Redis", hint="say where it is with --claims-url"
            )
        return self._claims

    def close(self) -> None:
        """Hang up."""
        if self._claims:
            self._claims.close()


def _to_jpeg(crop: Pixels) -> bytes:
    done, data = cv2.imencode(".jpg", crop[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    assert done
    return data.tobytes()


def _key(message: Crop) -> str:
    return message.content.decode(errors="replace")


def _opened(
    content: bytes | VisiontaxError, form: str, wanted: ModelInput
) -> Pixels | VisiontaxError:
    shape = (wanted.height, wanted.width, 3)
    if isinstance(content, VisiontaxError):
        return content
    if form != "jpeg":
        if len(content) != math.prod(shape):
            return ImageError(f"the crop has {len(content)} bytes, which is not {shape}")
        return np.frombuffer(content, np.uint8).reshape(shape)
    try:
        content = formats.admitted(content).data
    except ImageError as error:
        return error
    pixels: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None or pixels.shape != shape:
        return ImageError(f"the crop is no JPEG of {wanted.width}x{wanted.height} pixels")
    return cast(Pixels, pixels)
