"""The transports with tensors in shared memory: what they share, and the one that needs a GPU."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import importlib
import mmap
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from injection import LateProxy
from need import NEEDS, need
from pictures import encode, photograph
from processes import PROGRAMS, loading

from pipelines import processes
from pipelines.engines import cuda_shm
from pipelines.engines.choose import check_gpu, engine
from pipelines.engines.triton_http import HttpEngine
from pipelines.engines.triton_shm import SharedMemoryEngine
from pipelines.errors import EngineError
from pipelines.preprocess.choose import WAYS
from pipelines.servers import control, triton
from pipelines.topologies.asking import Single
from pipelines.topologies.choose import pipeline
from pipelines.topologies.scenario import Setup

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")

TOLD = "the transport cuda-shm needs an NVIDIA GPU on the client's side"


class Mapped:
    """A Block that is neither of ours: a mapped file, which knows how often it was used."""

    service: ClassVar[str] = "systemsharedmemory"
    living: ClassVar[dict[str, Mapped]] = {}
    made: ClassVar[list[int]] = []

    def __init__(self, name: str, *, size_bytes: int) -> None:
        self._path = Path("/dev/shm", name)
        with self._path.open("x+b") as file:
            file.truncate(size_bytes)
            self._bytes = mmap.mmap(file.fileno(), size_bytes)
        self._described = {"key": f"/{name}", "offset": 0, "byte_size": size_bytes}
        self.living[name] = self
        self.made.append(size_bytes)

    def described(self) -> dict[str, Any]:
        return self._described

    def write(self, tensor: np.ndarray[Any, Any], *, offset: int) -> None:
        assert offset % 256 == 0
        self._bytes[offset : offset + tensor.nbytes] = tensor.tobytes()

    def read(
        self, dtype: type[Any], *, shape: tuple[int, ...], offset: int
    ) -> np.ndarray[Any, Any]:
        assert offset % 256 == 0
        count = int(np.prod(shape))
        return np.frombuffer(self._bytes, dtype, count, offset).reshape(shape).copy()

    def free(self) -> None:
        self._bytes.close()
        self._path.unlink()
        del self.living[self._path.name]


class Refused(Mapped):
    """A Block that Triton cannot be told of, for there is no such GPU."""

    service: ClassVar[str] = "cudasharedmemory"

    def described(self) -> dict[str, Any]:
        handle = base64.b64encode(bytes(64)).decode()
        return {"raw_handle": {"b64": handle}, "device_id": 7, "byte_size": 1 << 16}


@pytest.fixture
def blocks() -> Iterator[type[Mapped]]:
    Mapped.made.clear()
    yield Mapped
    assert Mapped.living == {}


@pytest.mark.parametrize("place", ["server", "client"])
@pytest.mark.parametrize("preprocess", WAYS)
def test_any_kind_of_memory_brings_the_same_answer(
    triton: triton.Server, blocks: type[Mapped], preprocess: str, place: str
) -> None:
    image = encode(photograph(), quality=90)
    setup = Setup(preprocess=preprocess, place=place)
    plain = Single(HttpEngine(triton.url), setup)
    ours = Single(SharedMemoryEngine(triton.url, block=blocks), setup)
    expected, outcome = (ask(image, request_id="t") for ask in (plain, ours))
    assert np.array_equal(outcome.answer, expected.answer)
    assert outcome.bytes_in < 2000  # only the places travel
    named = f"{processes.PREFIX}-{processes.owner()}-"
    assert [name.startswith(named) for name in blocks.living] == [True, True]
    for ask in (plain, ours):
        ask.close()


def test_a_region_is_made_once_and_again_when_it_is_too_small(
    triton: triton.Server, blocks: type[Mapped]
) -> None:
    ask = Single(SharedMemoryEngine(triton.url, block=blocks), Setup())
    photo = photograph()
    small, large = encode(photo, quality=80), encode(photo.resize((1280, 852)), quality=95)
    assert len(large) > 1 << 17
    for image in (small, small):
        ask(image, request_id="t")
    made = list(blocks.made)
    assert len(made) == 2
    for image in (large, small, large):
        ask(image, request_id="t")
    assert len(blocks.made) == 3
    assert blocks.made[-1] > len(large)
    assert len(blocks.living) == 2
    ask.close()


def test_what_triton_refuses_is_said_at_every_request(
    triton: triton.Server, blocks: type[Mapped]
) -> None:
    del blocks
    ask = Single(SharedMemoryEngine(triton.url, block=Refused), Setup())
    for _ in range(2):
        with pytest.raises(EngineError, match="failed to register"):
            ask(encode(photograph()), request_id="t")
        assert Refused.living == {}
    ask.close()


@pytest.mark.skipif(NEEDS["gpu"].is_there(), reason="there is a GPU")
@pytest.mark.parametrize("program", PROGRAMS)
def test_without_a_gpu_it_is_said_before_the_first_request(
    triton: triton.Server, tmp_path: Path, program: str
) -> None:
    how = ("--transport", "cuda-shm", "--images", "small", "--results", tmp_path)
    done = loading(program, "--server", triton.url, *how)
    assert done.returncode == 1
    assert f"error: {TOLD}" in done.stderr
    assert "\nhint: use --transport shm" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.glob("*/requests-*")) == []


def runtime(status: int, count: int | None) -> SimpleNamespace:
    return SimpleNamespace(
        cudaGetDeviceCount=lambda: (status, count),
        cudaGetErrorString=lambda status: (0, f"CUDA says {status}".encode()),
    )


@pytest.mark.parametrize(
    ("found", "cause", "cure"),
    [
        (None, "Python bindings", "install the package cuda-bindings"),
        (runtime(35, None), "CUDA says 35", "nvidia-smi"),
        (runtime(0, 0), "CUDA shows none", "nvidia-smi"),
    ],
    ids=["no bindings", "no driver", "no GPU"],
)
def test_what_cuda_shm_lacks_is_said_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, found: Any, cause: str, cure: str
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", found)
    if found:
        monkeypatch.setattr(importlib, "import_module", {"cuda.bindings.runtime": found}.get)
    with pytest.raises(EngineError, match=TOLD) as raised:
        check_gpu("cuda-shm")
    assert cause in str(raised.value)
    assert "use --transport shm" in raised.value.hint
    assert cure in raised.value.hint
    check_gpu("shm")


class HostGpu:
    """The parts of CUDA and of tritonclient that a CudaBlock uses, on memory of the host."""

    CudaSharedMemoryException = RuntimeError
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4)

    def __init__(self) -> None:
        self.memory = np.zeros(1 << 16, np.uint8)
        self.pending = 0
        self.living: list[Any] = []

    def create_shared_memory_region(self, name: str, size_bytes: int, device: int) -> Any:
        if size_bytes > len(self.memory):
            raise RuntimeError("no") from Exception(b"out of memory")
        assert device == 0
        self.living.append(SimpleNamespace(name=name, _base_addr=self.memory.ctypes.data))
        return self.living[-1]

    def get_raw_handle(self, region: Any) -> bytes:
        return base64.b64encode(region.name.encode().ljust(64))

    def destroy_shared_memory_region(self, region: Any) -> None:
        self.living.remove(region)

    def cudaMemcpy(self, to: int, source: int, count: int, kind: int) -> tuple[int]:
        assert kind == 4
        self.pending += 1
        ctypes.memmove(to, source, count)
        return (0,)

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        self.pending = stream
        return (0,)

    def cudaGetErrorString(self, status: int) -> tuple[int, bytes]:
        return (0, f"CUDA says {status}".encode())


@pytest.fixture
def host_gpu(monkeypatch: pytest.MonkeyPatch) -> HostGpu:
    made = HostGpu()
    monkeypatch.setattr(importlib, "import_module", lambda _: made)
    return made


def test_a_cuda_block_copies_to_and_from_its_place(host_gpu: HostGpu) -> None:
    block = cuda_shm.CudaBlock("name", size_bytes=1 << 16)
    holds_what_is_written(block)
    host_gpu.pending = 0
    block.write(np.ones(3), offset=512)
    assert host_gpu.pending == 0  # it has arrived
    assert host_gpu.memory[512:536].view(np.float64).tolist() == [1, 1, 1]
    block.free()
    assert host_gpu.living == []


def test_a_gpu_that_fails_is_an_engine_error_in_its_own_words(
    host_gpu: HostGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match=r"131072 bytes of CUDA shared memory: out of memory"):
        cuda_shm.CudaBlock("name", size_bytes=1 << 17)
    block = cuda_shm.CudaBlock("name", size_bytes=256)
    monkeypatch.setattr(host_gpu, "cudaMemcpy", lambda *_: (700,))
    with pytest.raises(EngineError, match="CUDA says 700"):
        block.write(np.ones(3), offset=0)
    with pytest.raises(EngineError, match="CUDA says 700"):
        block.read(np.float64, shape=(3,), offset=0)


def holds_what_is_written(block: cuda_shm.CudaBlock) -> None:
    one, two = (np.random.default_rng(n).random((3, 5), np.float32) for n in range(2))
    block.write(one, offset=0)
    block.write(two.T, offset=256)
    assert np.array_equal(block.read(np.float32, shape=(3, 5), offset=0), one)
    assert np.array_equal(block.read(np.float32, shape=(5, 3), offset=256), two.T)
    described = block.described()
    assert (described["device_id"], described["byte_size"]) == (0, 1 << 16)
    assert len(base64.b64decode(described["raw_handle"]["b64"])) == 64


def test_a_gpus_memory_holds_what_is_written_to_it() -> None:
    need("gpu")
    block = cuda_shm.CudaBlock(f"{processes.PREFIX}-test", size_bytes=1 << 16)
    holds_what_is_written(block)
    block.free()


def test_a_gpus_memory_brings_the_same_answer(triton: triton.Server) -> None:
    need("gpu")
    image = encode(photograph(), quality=90)
    answers = []
    for transport in ("http", "cuda-shm"):
        ask = Single(engine(transport, triton.url), Setup())
        answers.append(ask(image, request_id="t").answer)
        ask.close()
    assert np.array_equal(*answers)


@pytest.mark.parametrize("transport", ["http", "grpc", "shm"])
def test_a_server_on_ipv6_is_asked_whatever_proxy_the_environment_names(
    triton: triton.Server, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{processes.free_port()}")
    try:
        http = LateProxy(triton.port, host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with http, LateProxy(triton.port + 1, host="::1") as grpc:
        _, port, *_ = grpc.server_address
        assert control.is_ready(http.url)
        setup = Setup(transport=transport, server=http.url, grpc_port=int(port))
        with contextlib.closing(pipeline(setup)) as ask:
            assert len(ask(encode(photograph()), request_id="t").answer) == 5
        for server in (http, grpc):
            server.shutdown()
