"""`task.toml`, beside a model in the repository: what its DNN wants and gives, and what that means.

    pipeline = "classification"         # what runs ask for
    batch = 8                           # most images at once; 0: one, without being asked

    [input]                             # what an image is made into: fields as in ModelInput
    name = "input"
    height = 224
    width = 224
    fit = "centre"

    [[outputs]]
    name = "logits"
    shape = [1000]                      # of one image; -1 where it varies

    [answer]
    kind = "classification"             # the other keys are options of the kind

`[[constants]]` are further inputs that are the same for every image. A DNN that reads what another
one finds has a `chain` and `regions_of` in place of `pipeline` and `answer`.
"""

import functools
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from pipelines.errors import VisiontaxError
from pipelines.tasks.tensors import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    TYPES,
    Colour,
    Fit,
    Layout,
    ModelInput,
)

FILE = "task.toml"

RESERVED = {"jpeg", "tensor", "size", "trail"}
"""What ensembles call their own tensors."""

_Side = Annotated[int, msgspec.Meta(ge=1, le=16_384)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Type = Literal[
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "fp16", "fp32", "fp64", "bytes",
]  # fmt: skip


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table in which a misspelt key is an error."""


class Tensor(Strict, frozen=True, kw_only=True):
    """A tensor by its name; one that is `unbatched` has no dimension for images."""

    name: _Name
    unbatched: bool = False


class Input(Tensor, frozen=True, kw_only=True):
    """The input that is made of an image, as in ModelInput."""

    name: _Name = "input"
    height: _Side
    width: _Side
    fit: Fit
    layout: Layout = "NCHW"
    type: Literal["fp32", "fp16", "uint8", "bytes", "encoded"] = "fp32"
    colour: Colour = "RGB"
    range: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION

    def made(self) -> ModelInput:
        """Return what computes. Raises VisiontaxError when fields do not go together."""
        fields = msgspec.structs.asdict(self)
        del fields["unbatched"]
        made = ModelInput(**fields)
        if self.fit == "centre" and self.height != self.width:
            raise VisiontaxError("the fit centre wants an input that is as high as wide")
        if self.type != "uint8":
            for name, values in (("mean", self.mean), ("deviation", self.deviation)):
                if len(values) != made.channels:
                    raise VisiontaxError(f"{name} wants {made.channels} numbers: {list(values)}")
            if not all(value > 0 for value in self.deviation):
                raise VisiontaxError(f"deviation wants numbers above 0: {list(self.deviation)}")
        return made


class Output(Tensor, frozen=True, kw_only=True):
    """A tensor that the DNN gives."""

    shape: tuple[int, ...]
    type: _Type = "fp32"


class Constant(Tensor, frozen=True, kw_only=True):
    """A further input: `values` of that shape, one for all or as many as it has."""

    shape: tuple[int, ...]
    values: tuple[float, ...]
    type: _Type = "fp32"

    def array(self) -> npt.NDArray[Any]:
        """Return the tensor of one image. Raises VisiontaxError when the numbers do not fit."""
        if len(self.values) not in (1, math.prod(self.shape)):
            raise VisiontaxError(
                f"the constant {self.name} has {len(self.values)} values for {list(self.shape)}"
            )
        values = self.values if len(self.values) > 1 else self.values * math.prod(self.shape)
        return np.array(values, TYPES[self.type]).reshape(self.shape)


class Description(Strict, frozen=True, kw_only=True):
    """What `task.toml` says.

    `only_in_chain`: no run asks for the pipeline by itself. `elsewhere`: another server has the
    model, so nothing is made of it for ours.
    """

    pipeline: str = ""
    chain: str = ""
    regions_of: str = ""
    only_in_chain: bool = False
    elsewhere: bool = False
    batch: Annotated[int, msgspec.Meta(ge=0, le=1024)] = 8
    input: Input
    outputs: Annotated[tuple[Output, ...], msgspec.Meta(min_length=1)]
    constants: tuple[Constant, ...] = ()
    answer: dict[str, Any] = {}


def parse(text: str, *, named: str) -> Description:
    """Return what the text of a `task.toml` says.

    Raises VisiontaxError, which begins with what it is `named`, when that cannot be.
    """
    try:
        read = msgspec.toml.decode(text, type=Description)
        read.input.made()
        for constant in read.constants:
            constant.array()
        _check(read)
    except (msgspec.DecodeError, VisiontaxError) as error:
        raise VisiontaxError(
            f"{named}: {error}", hint="docs/models.md says what it holds"
        ) from error
    return read


def _check(read: Description) -> None:
    if bool(read.pipeline) == bool(read.chain):
        raise VisiontaxError("it names a pipeline, or a chain and regions_of")
    if bool(read.chain) != bool(read.regions_of):
        raise VisiontaxError("chain and regions_of go together")
    if read.pipeline and not isinstance(read.answer.get("kind"), str):
        raise VisiontaxError("[answer] has no kind")
    given: list[Tensor] = [read.input, *read.constants]
    for tensors in (given, read.outputs):
        names = [each.name for each in tensors]
        if len(set(names)) < len(names):
            raise VisiontaxError(f"a tensor is named twice: {', '.join(names)}")
    taken = set() if read.elsewhere else RESERVED & {each.name for each in read.outputs}
    if taken:
        raise VisiontaxError(f"an output may not be called {taken.pop()}: ensembles use the name")
    if read.batch and any(each.unbatched for each in (*given, *read.outputs)):
        raise VisiontaxError("what is unbatched wants batch = 0")


def read(path: Path) -> Description:
    """Return what the file says. Raises VisiontaxError when it cannot be read, or is wrong."""
    try:
        return parse(path.read_text(encoding="utf-8"), named=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise VisiontaxError(f"{path} cannot be read: {error}") from error


@functools.cache
def described(repository: Path) -> dict[str, Description]:
    """Return the description of each model of the repository that has one, by the model's name."""
    return {path.parent.name: read(path) for path in sorted(repository.glob(f"*/{FILE}"))}
