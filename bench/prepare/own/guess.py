"""From the inputs and outputs of a model that nobody described to its description: what they do not
say is guessed where that is reasonable, and said, and asked for where it is not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.prepare.own.meaning import kind_of, options_of
from bench.prepare.own.stated import Hints, Seen
from pipelines.errors import VisiontaxError
from pipelines.tasks import KINDS
from pipelines.tasks.description import Constant, Description, Input, Output
from pipelines.tasks.tensors import FED, IMAGENET_DEVIATION, IMAGENET_MEAN

BATCH = 8
"""Of a model that takes any number of images."""

OFFERED = tuple(kind for kind in KINDS if kind != "lines")
"""The kinds of task that a model may be of."""

_SIDES = {"classification": 224, "detection": 640, "segmentation": 512, "depth": 384}
_FITS = {"classification": "centre", "detection": "letterbox"}

_NO_HINTS = Hints()


@dataclass(frozen=True)
class Asked:
    """What the user said; None where he did not. `size` is width and height."""

    input: str | None = None
    size: tuple[int, int] | None = None
    layout: str | None = None
    colour: str | None = None
    range: float | None = None
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    fit: str | None = None
    constants: dict[str, tuple[float, ...]] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)


def described(
    inputs: Sequence[Seen],
    outputs: Sequence[Seen],
    asked: Asked,
    *,
    name: str,
    kind: str | None = None,
    batch: int | None = None,
    hints: Hints = _NO_HINTS,
) -> tuple[Description, list[str]]:
    """Return the description of the pipeline `name`, and what was guessed and why, a sentence each.

    Without a `batch` a model that leaves the first size of every tensor open takes BATCH images.
    Raises VisiontaxError naming the option where there is nothing to go by.
    """
    said: list[str] = []
    image = _image_of(inputs, asked)
    if batch is None:
        free = all(each.shape[:1] == (-1,) for each in (*inputs, *outputs))
        batch = BATCH if free and len(image.shape) == 4 else 0
        if not batch:
            said.append("one image at a time: not every tensor leaves the batch open")
    if kind is None:
        kind, why = kind_of(image, outputs, hints)
        said.append(f"task {kind}: {why} (--task)")
    made = _input(image, asked, kind, hints, said)
    answer = {"kind": kind, **options_of(kind, outputs, hints, said), **asked.answer}
    others = [each for each in inputs if each.name != image.name]
    return Description(
        pipeline=name,
        batch=batch,
        input=made,
        outputs=tuple(output_of(each, batch) for each in outputs),
        constants=tuple(constant_of(each, asked, batch) for each in others),
        answer=answer,
    ), said


def _image_of(inputs: Sequence[Seen], asked: Asked) -> Seen:
    """The input that an image is made into."""
    listed = ", ".join(map(str, inputs)) or "none"
    named = [each for each in inputs if asked.input in (None, each.name)]
    if not named:
        raise VisiontaxError(f"there is no input {asked.input}", hint=f"its inputs: {listed}")
    found = [each for each in named if each.type in FED and len(each.shape) in (3, 4)]
    found = [each for each in found if _layouts(each) or asked.layout]
    if not found:
        raise VisiontaxError(
            f"no input can be made of an image: {listed}",
            hint=f"one is height, width and 1 or 3 colours, of {', '.join(FED)}; where sizes are "
            "open, --layout says their order",
        )
    if len(found) > 1:
        raise VisiontaxError(
            f"several inputs could be made of an image: {', '.join(map(str, found))}",
            hint="say which with --input; the others want a --constant",
        )
    first = found[0]
    if len(first.shape) == 4 and first.shape[0] > 1:
        raise VisiontaxError(
            f"{first} takes {first.shape[0]} images together, no more and no fewer",
            hint="export the model for one image, or with a first size that is left open",
        )
    return first


def _layouts(image: Seen) -> list[str]:
    """The orders of sizes in which the tensor may be an image."""
    first, last = image.shape[-3], image.shape[-1]
    return [name for name, side in (("NCHW", first), ("NHWC", last)) if side in (1, 3)]


def _input(image: Seen, asked: Asked, kind: str, hints: Hints, said: list[str]) -> Input:
    layouts = [asked.layout] if asked.layout else _layouts(image)
    if len(layouts) > 1:
        raise VisiontaxError(f"which size of {image} are the colours?", hint="say --layout")
    layout = str(layouts[0])
    height, width, channels = (
        image.shape[-3:] if layout == "NHWC" else (*image.shape[-2:], image.shape[-3])
    )
    height, width = _size(image, (height, width), asked, kind, said)
    colour = asked.colour or ("GRAY" if channels == 1 else "RGB")
    if channels == 3 and not asked.colour:
        said.append("colour RGB: most models were trained on it (--colour)")
    fit = asked.fit or _FITS.get(kind, "stretch")
    if fit == "centre" and height != width and not asked.fit:
        fit = "stretch"
    if not asked.fit:
        said.append(f"fit {fit}: usual for the task {kind} (--fit)")
    scale = {} if image.type == "uint8" else _scale(asked, kind, colour, hints, said)
    made = {"name": image.name, "height": height, "width": width, "fit": fit}
    more = {"layout": layout, "type": image.type, "colour": colour}
    return Input(**made, **more, **scale, unbatched=len(image.shape) == 3)  # type: ignore[arg-type]


def _size(
    image: Seen, sides: tuple[int, int], asked: Asked, kind: str, said: list[str]
) -> tuple[int, int]:
    """The height and width of the input."""
    if asked.size:
        wanted = asked.size[::-1]
        if any(side not in (-1, want) for side, want in zip(sides, wanted, strict=True)):
            raise VisiontaxError(
                f"{image} cannot be {asked.size[0]}x{asked.size[1]}", hint="leave --size out"
            )
        return wanted
    if min(sides) > 0:
        return sides
    side = max(*sides, _SIDES.get(kind, 224)) if max(sides) < 0 else max(sides)
    said.append(f"size {side}x{side}: the model leaves it open (--size WIDTHxHEIGHT)")
    return (side, side)


def _scale(asked: Asked, kind: str, colour: str, hints: Hints, said: list[str]) -> dict[str, Any]:
    """White, mean and deviation of an input that is no whole numbers."""
    if asked.range or asked.mean or asked.deviation:
        channels = 1 if colour == "GRAY" else 3
        zero, one = (0.0,) * channels, (1.0,) * channels
        mean, deviation = asked.mean or zero, asked.deviation or one
        return {"range": asked.range or 1.0, "mean": mean, "deviation": deviation}
    if hints.normalizes:
        said.append("pixels 0 to 255: the model normalizes them itself (--range, --mean)")
        return {"range": 255.0, "mean": (0.0,) * 3, "deviation": (1.0,) * 3}
    if colour == "GRAY":
        said.append("pixels 0 to 1 (--range, --mean, --deviation)")
        return {"mean": (0.0,), "deviation": (1.0,)}
    if kind == "detection":
        said.append("pixels 0 to 1: usual for detectors (--range, --mean, --deviation)")
        return {"mean": (0.0,) * 3, "deviation": (1.0,) * 3}
    said.append("mean and deviation of ImageNet: most were trained so (--mean, --deviation)")
    return {"mean": IMAGENET_MEAN, "deviation": IMAGENET_DEVIATION}


def output_of(tensor: Seen, batch: int) -> Output:
    """Return the description of an output, of one image."""
    name, type_, shape = tensor
    if batch or (shape[:1] == (1,) and len(shape) > 1):
        return Output(name=name, type=type_, shape=shape[1:])  # type: ignore[arg-type]
    return Output(name=name, type=type_, shape=shape, unbatched=True)  # type: ignore[arg-type]


def constant_of(tensor: Seen, asked: Asked, batch: int) -> Constant:
    """A further input, with what the user wants it to be."""
    if tensor.name not in asked.constants:
        raise VisiontaxError(
            f"the model has a further input: {tensor}",
            hint=f"say what it is to be for every image: --constant {tensor.name}=VALUE[,VALUE]...",
        )
    values = asked.constants[tensor.name]
    shape = tensor.shape[1:] if batch else tensor.shape
    given = math.prod(side for side in shape if side > 0)
    shape = tuple(max(1, len(values) // given) if side < 0 else side for side in shape)
    unbatched = not batch
    made = Constant(
        name=tensor.name,
        type=tensor.type,  # type: ignore[arg-type]
        shape=shape,
        values=values,
        unbatched=unbatched,
    )
    made.array()
    return made
