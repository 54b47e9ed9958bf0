"""Reads a PyTorch state dict (the format torch.save wrote before 1.6) with numpy alone.

The pickles in it may name tensors, storages and OrderedDict, and nothing else: no code of the
file's choosing ever runs.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import SourceError

_MAGIC = 0x1950A86A20F9469CFC6C

# What the unpickler and the reader raise on bytes that are no state dict.
_MALFORMED = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)

_DTYPES: dict[str, npt.DTypeLike] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


@dataclass(frozen=True)
class _Tensor:
    """A tensor as pickled: which storage it views, and how. Offset and strides are in elements."""

    storage: str
    dtype: npt.DTypeLike
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_state_dict(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return name → array of the state dict in `data`, the bytes of a .pth file.

    Raises SourceError when it is not such a file, or asks for anything but tensors.
    """
    file = io.BytesIO(data)
    try:
        if _Unpickler(file).load() != _MAGIC:
            raise pickle.UnpicklingError("it does not begin as torch.save's files do")
        for _skipped in ("protocol version", "system"):
            _Unpickler(file).load()
        tensors: dict[str, _Tensor] = _Unpickler(file).load()
        keys: list[str] = _Unpickler(file).load()
        storages = _read_storages(file, keys, {t.storage: t.dtype for t in tensors.values()})
        return {name: _view(tensor, storages) for name, tensor in tensors.items()}
    except _MALFORMED as error:
        raise SourceError(
            f"cannot read the weights: {error}",
            hint="only a state dict in torch.save's format from before 1.6 can be read here",
        ) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, npt.DTypeLike]:
        _kind, dtype, key, *_rest = pid
        return key, dtype


def _rebuild_tensor(
    storage: tuple[str, npt.DTypeLike],
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    *_gradient: Any,
) -> _Tensor:
    key, dtype = storage
    return _Tensor(key, dtype, offset, size, stride)


def _read_storages(
    file: io.BytesIO, keys: list[str], dtypes: dict[str, npt.DTypeLike]
) -> dict[str, npt.NDArray[Any]]:
    """Read the flat arrays that follow the pickles: an element count, then the elements."""
    storages = {}
    for key in keys:
        head = file.read(8)
        if len(head) < 8:
            raise EOFError("it ends too early")
        (count,) = struct.unpack("<q", head)
        dtype = np.dtype(dtypes[key])
        storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
    return storages


def _view(tensor: _Tensor, storages: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return a contiguous copy of the tensor. Raises ValueError when it leaves its storage."""
    return np.ndarray(
        tensor.size,
        tensor.dtype,
        storages[tensor.storage],
        offset=tensor.offset * np.dtype(tensor.dtype).itemsize,
        strides=[step * np.dtype(tensor.dtype).itemsize for step in tensor.stride],
    ).copy()
