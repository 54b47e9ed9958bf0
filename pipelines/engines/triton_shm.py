"""Triton with tensors in memory that it shares with us, and HTTP for the few bytes that say where.

Each user owns one region for its inputs and one for its outputs, registered on first use and
replaced by a larger one when a request needs it. What kind of memory that is, is the engine's to
be told.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from tritonclient.http import InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import np_to_triton_dtype

from pipelines import processes
from pipelines.engines.triton_http import HttpEngine
from pipelines.errors import EngineError
from pipelines.tasks.tensors import Tensors, TensorSpec

_ALIGNMENT = 256


class Block(Protocol):
    """A block of memory that another process can be told of. Any method may raise EngineError."""

    service: ClassVar[str]
    """The part of Triton's addresses that stands for this kind of memory."""

    def __init__(self, name: str, *, size_bytes: int) -> None:
        """Allocate it."""

    def described(self) -> dict[str, Any]:
        """Return what Triton's registration asks for."""

    def write(self, tensor: npt.NDArray[Any], *, offset: int) -> None:
        """Copy the tensor to that many bytes from the start; it is there when this returns."""

    def read(self, dtype: type[Any], *, shape: tuple[int, ...], offset: int) -> npt.NDArray[Any]:
        """Return a copy of the tensor that is so many bytes from the start."""

    def free(self) -> None:
        """Give the memory back."""


class _Region:
    """A registered block that is replaced when asked for more; `use` is a part of its name."""

    def __init__(self, http: HttpEngine, *, block: type[Block], use: str) -> None:
        self._http, self._kind, self._use = http, block, use
        self._bytes = 0
        self._block: Block | None = None
        self.name = ""

    @property
    def block(self) -> Block:
        """The memory itself, once some is reserved."""
        assert self._block is not None
        return self._block

    def reserve(self, size_bytes: int) -> None:
        """Make sure that the region holds `size_bytes`."""
        if size_bytes <= self._bytes:
            return
        self.release()
        size_bytes = max(1 << 16, 2 * size_bytes)
        unique = uuid.uuid4().hex[:12]
        self.name = f"{processes.PREFIX}-{processes.owner()}-{unique}-{self._use}"
        self._block = self._kind(self.name, size_bytes=size_bytes)
        try:
            self._control("register", self._block.described())
        except EngineError:
            self.release()
            raise
        self._bytes = size_bytes

    def release(self) -> None:
        """Give the memory back, also when the server is gone."""
        if self._block is None:
            return
        with contextlib.suppress(EngineError):
            self._control("unregister")
        with contextlib.suppress(EngineError):
            self._block.free()
        self._block, self._bytes = None, 0

    def _control(self, what: str, body: dict[str, Any] | None = None) -> None:
        self._http.control(f"/v2/{self._kind.service}/region/{self.name}/{what}", body)


class SharedMemoryEngine(HttpEngine):
    """One user's regions, of one kind of block; over HTTP only the places of tensors travel."""

    def __init__(self, url: str, *, block: type[Block]) -> None:
        super().__init__(url)
        self._input = _Region(self, block=block, use="input")
        self._output = _Region(self, block=block, use="output")

    def _describe(
        self, inputs: Tensors, outputs: list[TensorSpec]
    ) -> tuple[list[InferInput], list[InferRequestedOutput]]:
        self._input.reserve(sum(_room(tensor.nbytes) for tensor in inputs.values()))
        self._output.reserve(sum(_room(_bytes(spec)) for spec in outputs))
        given, offset = [], 0
        for name, tensor in inputs.items():
            self._input.block.write(tensor, offset=offset)
            described = InferInput(name, list(tensor.shape), np_to_triton_dtype(tensor.dtype))
            given.append(described.set_shared_memory(self._input.name, tensor.nbytes, offset))
            offset += _room(tensor.nbytes)
        wanted = []
        for spec, offset in _placed(outputs):
            output = InferRequestedOutput(spec.name, binary_data=True)
            output.set_shared_memory(self._output.name, _bytes(spec), offset)
            wanted.append(output)
        return given, wanted

    def _read(self, result: InferResult, outputs: list[TensorSpec]) -> Tensors:
        return {
            spec.name: self._output.block.read(
                spec.dtype, shape=tuple(result.get_output(spec.name)["shape"]), offset=offset
            )
            for spec, offset in _placed(outputs)
        }

    def close(self) -> None:
        """Unregister and free both regions and close the connection."""
        self._input.release()
        self._output.release()
        super().close()


def _placed(outputs: list[TensorSpec]) -> list[tuple[TensorSpec, int]]:
    """Return each output with the offset, in bytes, of its place in the region."""
    ends = itertools.accumulate((_room(_bytes(spec)) for spec in outputs), initial=0)
    return list(zip(outputs, ends, strict=False))


def _room(size_bytes: int) -> int:
    """The place that a tensor takes: the next one starts where a DNN on a GPU may read it as is."""
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT


def _bytes(spec: TensorSpec) -> int:
    return int(np.dtype(spec.dtype).itemsize * np.prod(spec.shape))
