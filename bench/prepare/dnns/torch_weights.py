"""Reads a PyTorch state dict (the format torch.save wrote before 1.6) with numpy alone.

The pickles in it may name tensors, storages and OrderedDict, and nothing else: no code of the
file's choosing ever runs.
"""

import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import SourceError

Array = npt.NDArray[Any]

_MAGIC = 0x1950A86A20F9469CFC6C

# What the unpickler and numpy raise on bytes that are no state dict.
_MALFORMED = (
    *(pickle.UnpicklingError, AttributeError, EOFError, IndexError, KeyError, MemoryError),
    *(TypeError, ValueError),
)


def read_state_dict(data: bytes) -> dict[str, Array]:
    """Return name → array of the state dict in `data`, the bytes of a .pth file.

    Raises SourceError when it is not such a file, or asks for anything but tensors.
    """
    file = io.BytesIO(data)
    unpickler = _Unpickler(file)
    try:
        if unpickler.load() != _MAGIC:
            raise pickle.UnpicklingError("it does not begin as torch.save's files do")
        _protocol, _system, tensors, keys = (unpickler.load() for _ in range(4))
        if sorted(keys) != sorted(unpickler.storages):
            raise ValueError("what follows is not what its tensors are made of")
        # What the tensors are views of follows the pickles: an element count, then the elements.
        for storage in (unpickler.storages[key] for key in keys):
            if int.from_bytes(file.read(8), "little") != storage.size:
                raise EOFError("it ends too early")
            content = file.read(storage.nbytes)
            storage[:] = np.frombuffer(content, storage.dtype, storage.size)
        return dict(tensors)
    except _MALFORMED as error:
        raise SourceError(
            f"cannot read the weights: {error}",
            hint="only a state dict in torch.save's format from before 1.6 can be read here",
        ) from error


class _Unpickler(pickle.Unpickler):
    """Makes each tensor a view of one of `storages`, flat arrays that are still to be filled."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, Array] = {}

    def find_class(self, module: str, name: str) -> Any:
        known = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _view,
            "torch.FloatStorage": "<f4",
            "torch.LongStorage": "<i8",
        }
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Array:
        _kind, dtype, key, _device, size, *_rest = pid
        return self.storages.setdefault(key, np.empty(size, dtype))


def _view(
    storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_gradient: Any
) -> Array:
    """Raises TypeError or ValueError when it leaves the storage; all in elements."""
    step = storage.itemsize
    return np.ndarray(size, storage.dtype, storage, offset * step, [each * step for each in stride])
