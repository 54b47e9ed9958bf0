"""Triton with tensors in memory that it shares with us, and HTTP for the few bytes that say where.

Each user owns one region for its inputs and one for its outputs, registered on first use and
replaced by a larger one when a request needs it. What kind of memory that is, is the engine's to
be told: here is the system's, files in /dev/shm, which is the transport `shm`.
"""

import contextlib
import itertools
import math
import os
import uuid
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import tritonclient.utils.shared_memory as shm
from tritonclient.http import InferInput, InferRequestedOutput, InferResult

from pipelines import processes
from pipelines.engines.triton_http import HttpEngine, input_of
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


class SystemBlock(Block):
    """A block in /dev/shm."""

    service = "systemsharedmemory"

    def __init__(self, name: str, *, size_bytes: int) -> None:
        self._described = {"key": name, "offset": 0, "byte_size": size_bytes}
        try:
            self._handle = shm.create_shared_memory_region(name, name, size_bytes, create_only=True)
            os.chmod(f"/dev/shm/{name}", 0o600)  # what is in there is nobody else's business
        except (OSError, shm.SharedMemoryException) as error:
            raise EngineError(
                f"cannot make {size_bytes} bytes of shared memory: {error}; is /dev/shm full?"
            ) from error

    def described(self) -> dict[str, Any]:
        return self._described

    def write(self, tensor: npt.NDArray[Any], *, offset: int) -> None:
        shm.set_shared_memory_region(self._handle, [tensor], offset)

    def read(self, dtype: type[Any], *, shape: tuple[int, ...], offset: int) -> npt.NDArray[Any]:
        return np.array(shm.get_contents_as_numpy(self._handle, dtype, shape, offset))

    def free(self) -> None:
        with contextlib.suppress(OSError, shm.SharedMemoryException):
            shm.destroy_shared_memory_region(self._handle)


class _Region:
    """A registered block that is replaced when asked for more; `use` is a part of its name."""

    name: str
    block: Block

    def __init__(self, http: HttpEngine, *, block: type[Block], use: str) -> None:
        self._http, self._kind, self._use = http, block, use
        self._bytes = 0

    def reserve(self, size_bytes: int) -> None:
        """Make sure that the region holds `size_bytes`."""
        if size_bytes <= self._bytes:
            return
        self.release()
        size_bytes = max(1 << 16, 2 * size_bytes)
        unique = uuid.uuid4().hex[:12]
        self.name = f"{processes.PREFIX}-{processes.owner()}-{unique}-{self._use}"
        self.block = self._kind(self.name, size_bytes=size_bytes)
        self._bytes = size_bytes
        try:
            self._control("register", self.block.described())
        except EngineError:
            self.release()
            raise

    def release(self) -> None:
        """Give the memory back, also when the server is gone."""
        if self._bytes:
            self._bytes = 0
            with contextlib.suppress(EngineError):
                self._control("unregister")
            with contextlib.suppress(EngineError):
                self.block.free()

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
        *places, end = _places(tensor.nbytes for tensor in inputs.values())
        self._input.reserve(end)
        given = []
        for (name, tensor), offset in zip(inputs.items(), places, strict=True):
            self._input.block.write(tensor, offset=offset)
            described = input_of(name, tensor)
            given.append(described.set_shared_memory(self._input.name, tensor.nbytes, offset))
        *self._places, end = _places(map(_bytes, outputs))
        self._output.reserve(end)
        wanted = []
        for spec, offset in zip(outputs, self._places, strict=True):
            output = InferRequestedOutput(spec.name, binary_data=True)
            output.set_shared_memory(self._output.name, _bytes(spec), offset)
            wanted.append(output)
        return given, wanted

    def _read(self, result: InferResult, outputs: list[TensorSpec]) -> Tensors:
        return {
            spec.name: self._output.block.read(
                spec.dtype, shape=tuple(result.get_output(spec.name)["shape"]), offset=offset
            )
            for spec, offset in zip(outputs, self._places, strict=True)
        }

    def close(self) -> None:
        """Unregister and free both regions and close the connection."""
        self._input.release()
        self._output.release()
        super().close()


def engine(url: str) -> SharedMemoryEngine:
    """Return one user's engine; what killed processes left in shared memory is removed."""
    processes.sweep_shared_memory()
    return SharedMemoryEngine(url, block=SystemBlock)


def _places(sizes_bytes: Iterable[int]) -> list[int]:
    """Return where tensors lie in a region, each where a DNN on a GPU may read it as is; and last,
    where they end.
    """
    rooms = (-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes_bytes)
    return list(itertools.accumulate(rooms, initial=0))


def _bytes(spec: TensorSpec) -> int:
    return np.dtype(spec.dtype).itemsize * math.prod(spec.shape)
