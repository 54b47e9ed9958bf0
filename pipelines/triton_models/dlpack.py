"""NumPy arrays to and from the tensors of Triton's Python backend, as DLPack.

Its own `as_numpy` and `Tensor(array)` misread arrays of NumPy 2 in releases built against NumPy 1.
"""

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.errors import words

_set_name = ctypes.pythonapi.PyCapsule_SetName
_set_name.argtypes = (ctypes.py_object, ctypes.c_char_p)
_USED = ctypes.c_char_p(b"used_dltensor")


class _Handover:
    """Exports an array once and keeps the capsule."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array
        self.capsule: object = None

    def __dlpack__(self, **_: object) -> object:
        self.capsule = self._array.__dlpack__()
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


def to_triton(backend: Any, name: str, array: npt.NDArray[Any]) -> Any:
    """Return the array as a tensor; `backend` is the module triton_python_backend_utils."""
    handover = _Handover(array)
    tensor = backend.Tensor.from_dlpack(name, handover)
    # Triton marks the capsule as used by a name that it frees; NumPy would read that on release.
    _set_name(handover.capsule, _USED)
    return tensor


def respond(backend: Any, outputs: Mapping[str, npt.NDArray[Any]]) -> Any:
    """Return a response with the arrays; `backend` is as in `to_triton`."""
    return backend.InferenceResponse(
        [to_triton(backend, name, array) for name, array in outputs.items()]
    )


def refuse(backend: Any, error: Exception) -> Any:
    """Return a response that fails its own request."""
    return backend.InferenceResponse(error=backend.TritonError(words(error)))


def from_triton(tensor: Any) -> npt.NDArray[Any]:
    """Return the tensor's memory as an array, without a copy."""
    return np.from_dlpack(tensor)
