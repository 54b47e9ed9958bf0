"""The Open Inference Protocol with binary tensors, as a server reads and writes it."""

import math
from typing import Any, NamedTuple

import msgspec
import numpy as np
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from pipelines.errors import EngineError
from pipelines.tasks.tensors import Tensors

HEADER_BYTES = "Inference-Header-Content-Length"
"""The HTTP header that says how much of a body is JSON; the tensors' bytes follow."""


class _Size(msgspec.Struct):
    binary_data_size: int


class _Given(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: _Size


class _Wanted(msgspec.Struct):
    name: str


class _Head(msgspec.Struct):
    inputs: list[_Given]
    outputs: list[_Wanted] = []
    id: str = ""
    parameters: dict[str, Any] = {}


class Inference(NamedTuple):
    """What is asked of a model: its inputs, the names of the outputs wanted, none for all, and what
    else is said to it.
    """

    id: str
    inputs: Tensors
    outputs: list[str]
    parameters: dict[str, Any]


_decoder = msgspec.json.Decoder(_Head)


def read(body: bytes, *, head_bytes: int) -> Inference:
    """Return what a body asks for. Raises EngineError when it is not of this kind."""
    try:
        head, at, inputs = _decoder.decode(body[:head_bytes]), head_bytes, {}
        for one in head.inputs:
            size = one.parameters.binary_data_size
            dtype = np.dtype(triton_to_np_dtype(one.datatype))
            if min(one.shape, default=0) < 0 or dtype.hasobject:
                raise ValueError(f"no tensor of {one.datatype} {one.shape}")
            tensor = np.frombuffer(body, dtype, math.prod(one.shape), at)
            if tensor.nbytes != size:
                raise ValueError(f"{one.name} has {size} bytes for {one.shape}")
            inputs[one.name] = tensor.reshape(one.shape)
            at += size
    except (ValueError, TypeError, OverflowError) as error:
        raise EngineError(f"not a request with binary tensors: {error}") from error
    wanted = [one.name for one in head.outputs]
    return Inference(head.id, inputs, wanted, head.parameters)


def write(outputs: Tensors, *, model: str, id: str) -> tuple[bytes, int]:
    """Return the body that answers, and how long its head is."""
    tensors = {name: np.ascontiguousarray(one) for name, one in outputs.items()}
    told = [
        {
            "name": name,
            "datatype": np_to_triton_dtype(one.dtype),
            "shape": one.shape,
            "parameters": {"binary_data_size": one.nbytes},
        }
        for name, one in tensors.items()
    ]
    head = {"model_name": model, "model_version": "1", "id": id, "outputs": told}
    encoded = msgspec.json.encode(head)
    return b"".join([encoded, *(one.tobytes() for one in tensors.values())]), len(encoded)


def refusal(words: str) -> bytes:
    """Return the body that says why there is no answer."""
    return msgspec.json.encode({"error": words})
