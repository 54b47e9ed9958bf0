"""The transport `shm`: tensors in the system's shared memory, which is files in /dev/shm."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import tritonclient.utils.shared_memory as shm

from pipelines import processes
from pipelines.engines.triton_shm import SharedMemoryEngine
from pipelines.errors import EngineError


def engine(url: str) -> SharedMemoryEngine:
    """Return one user's engine; what killed processes left in shared memory is removed."""
    processes.sweep_shared_memory()
    return SharedMemoryEngine(url, block=SystemBlock)


class SystemBlock:
    """A Block in /dev/shm."""

    service: ClassVar[str] = "systemsharedmemory"

    def __init__(self, name: str, *, size_bytes: int) -> None:
        self._described = {"key": name, "offset": 0, "byte_size": size_bytes}
        try:
            self._handle = shm.create_shared_memory_region(name, name, size_bytes, create_only=True)
        except (OSError, shm.SharedMemoryException) as error:
            raise EngineError(
                f"cannot make {size_bytes} bytes of shared memory: {error}; is /dev/shm full?"
            ) from error

    def described(self) -> dict[str, Any]:
        """As Block.described."""
        return self._described

    def write(self, tensor: npt.NDArray[Any], *, offset: int) -> None:
        """As Block.write."""
        shm.set_shared_memory_region(self._handle, [tensor], offset)

    def read(self, dtype: type[Any], *, shape: tuple[int, ...], offset: int) -> npt.NDArray[Any]:
        """As Block.read."""
        return np.array(shm.get_contents_as_numpy(self._handle, dtype, shape, offset))

    def free(self) -> None:
        """As Block.free."""
        with contextlib.suppress(OSError, shm.SharedMemoryException):
            shm.destroy_shared_memory_region(self._handle)
