"""The transport `cuda-shm`: tensors in the memory of a GPU that Triton uses too, on the same host.

The GPU is the first that CUDA shows to this process (CUDA_VISIBLE_DEVICES says which), and must be
Triton's first. CUDA's Python bindings are imported only when this transport is used.
"""

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.engines.triton_shm import Block, SharedMemoryEngine
from pipelines.errors import EngineError

DEVICE = 0
"""The number of the GPU, for us and for Triton."""


def engine(url: str) -> SharedMemoryEngine:
    """Return one user's engine, where `check` finds a GPU."""
    return SharedMemoryEngine(url, block=CudaBlock)


def check() -> None:
    """Raise EngineError unless this process can use a GPU."""
    needs = "the transport cuda-shm needs an NVIDIA GPU on the client's side"
    try:
        status, count = _runtime().cudaGetDeviceCount()
    except (ImportError, RuntimeError) as error:
        raise EngineError(
            f"{needs}, and CUDA's Python bindings: {error}",
            hint="use --transport shm; where a GPU is, install the package cuda-bindings",
        ) from error
    if status or not count:
        why = _words(status) if status else "CUDA shows none"
        raise EngineError(
            f"{needs}: {why}", hint="use --transport shm, or run where nvidia-smi shows a GPU"
        )


class CudaBlock(Block):
    """A block in the GPU's memory.

    The copies are made here: those of tritonclient start at the region's first byte, read all of
    it, and go through further copies on the host.
    """

    service = "cudasharedmemory"

    def __init__(self, name: str, *, size_bytes: int) -> None:
        self._regions = importlib.import_module("tritonclient.utils.cuda_shared_memory")
        try:
            self._region = self._regions.create_shared_memory_region(name, size_bytes, DEVICE)
        except self._regions.CudaSharedMemoryException as error:
            raise EngineError(
                f"cannot make {size_bytes} bytes of CUDA shared memory: {_cause(error)}",
                hint="nvidia-smi shows how much of the GPU's memory is free",
            ) from error
        self._size_bytes = size_bytes

    def described(self) -> dict[str, Any]:
        handle = self._regions.get_raw_handle(self._region).decode()
        raw = {"b64": handle}
        return {"raw_handle": raw, "device_id": DEVICE, "byte_size": self._size_bytes}

    def write(self, tensor: npt.NDArray[Any], *, offset: int) -> None:
        packed = np.ascontiguousarray(tensor)
        _copy(packed.ctypes.data, self._address(offset), size_bytes=packed.nbytes)
        # A copy from pageable memory returns before the last of it has reached the GPU.
        _checked(_runtime().cudaStreamSynchronize(0))

    def read(self, dtype: type[Any], *, shape: tuple[int, ...], offset: int) -> npt.NDArray[Any]:
        tensor = np.empty(shape, dtype)
        _copy(self._address(offset), tensor.ctypes.data, size_bytes=tensor.nbytes)
        return tensor

    def _address(self, offset: int) -> int:
        return int(self._region._base_addr) + offset

    def free(self) -> None:
        region, self._region = self._region, None
        self._regions.destroy_shared_memory_region(region)  # which goes with its last reference


def _copy(source: int, to: int, *, size_bytes: int) -> None:
    runtime = _runtime()
    _checked(runtime.cudaMemcpy(to, source, size_bytes, runtime.cudaMemcpyKind.cudaMemcpyDefault))


def _checked(returned: tuple[Any, ...]) -> None:
    """Raise EngineError in CUDA's own words when a call of its runtime failed."""
    if returned[0]:
        raise EngineError(f"CUDA cannot copy a tensor: {_words(returned[0])}")


def _words(status: Any) -> str:
    return str(_runtime().cudaGetErrorString(status)[1].decode())


def _cause(error: BaseException) -> str:
    """The words of CUDA, which tritonclient raises its own exception from."""
    (words, *_) = error.__cause__.args if error.__cause__ else (str(error),)
    return words.decode() if isinstance(words, bytes) else str(words)


def _runtime() -> Any:
    return importlib.import_module("cuda.bindings.runtime")
