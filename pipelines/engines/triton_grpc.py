"""Triton over gRPC; requests are serialised here, so that `encode` and `send` can be told apart."""

import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)

from pipelines.engines.address import address_of, ca_file, headers
from pipelines.engines.engine import Engine, Exchange, Parameters
from pipelines.engines.plain_http import TIMEOUT_S
from pipelines.errors import EngineError
from pipelines.tasks.tensors import Tensors, TensorSpec

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]


def _packed(tensor: npt.NDArray[Any]) -> bytes:
    if tensor.dtype == np.object_:
        return bytes(serialize_byte_tensor(tensor).item())
    return tensor.tobytes()


def _unpacked(content: bytes, datatype: str) -> npt.NDArray[Any]:
    if datatype == "BYTES":
        return np.asarray(deserialize_bytes_tensor(content))
    if datatype == "BF16":  # which NumPy has not
        return np.frombuffer(content, np.uint16)
    return np.frombuffer(content, triton_to_np_dtype(datatype))


class GrpcEngine(Engine):
    """One user's channel to Triton's gRPC endpoint at the address `url`; https:// is TLS."""

    def __init__(self, url: str) -> None:
        self._url = url
        # Without a subchannel pool of its own, every user would share one TCP connection.
        options = [*_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        self._metadata = [(name.lower(), value) for name, value in headers().items()]
        place = url.removeprefix("https://")
        if address_of(url).secure:
            trusted = grpc.ssl_channel_credentials((ca := ca_file()) and Path(ca).read_bytes())
            self._channel = grpc.secure_channel(place, trusted, options=options)
        else:
            self._channel = grpc.insecure_channel(place, options=options)
        self._infer = self._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: list[TensorSpec],
        request_id: str,
        parameters: Parameters | None = None,
    ) -> Exchange:
        """Run one request; tensors travel as raw contents."""
        start = time.monotonic_ns()
        request = service_pb2.ModelInferRequest(model_name=model, id=request_id)
        for name, tensor in inputs.items():
            request.inputs.add(
                name=name, shape=tensor.shape, datatype=np_to_triton_dtype(tensor.dtype)
            )
            request.raw_input_contents.append(_packed(tensor))
        for spec in outputs:
            request.outputs.add(name=spec.name)
        for name, value in (parameters or {}).items():
            request.parameters[name].string_param = value
        body = request.SerializeToString()
        sent = time.monotonic_ns()
        try:
            reply = self._infer(body, timeout=TIMEOUT_S, metadata=self._metadata)
        except grpc.RpcError as error:
            raise EngineError(self._words(error)) from error
        received = time.monotonic_ns()
        response = service_pb2.ModelInferResponse.FromString(reply)
        tensors = {
            output.name: _unpacked(content, output.datatype).reshape(tuple(output.shape))
            for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        end = time.monotonic_ns()
        return Exchange(tensors, start, sent, received, end, len(body), len(reply))

    def _words(self, error: grpc.RpcError) -> str:
        code, details = error.code(), error.details() or "no reason given"
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return f"no answer from Triton at {self._url}: {details}"
        return str(details)

    def close(self) -> None:
        """Close the channel; under gevent a process with an open one never exits."""
        self._channel.close()
