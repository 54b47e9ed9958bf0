"""A traced load on a Triton whose tracing is turned off and on, and how often that ends.

Users ask an ensemble that does nothing as fast as they are answered. A pause between the moment at
which the server frees a trace and that at which it unlocks it makes rare crashes frequent.
"""

import http.client
import json
import shutil
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.commands.selfcheck.rounds import Tick
from bench.record.trace import numbered
from pipelines.errors import ServerError
from pipelines.processes import HOST
from pipelines.servers import control, triton
from pipelines.servers.launch import trace_shim

HANGS_S = 5.0
"""A server that answers nobody for so long hangs."""

POLL_S = 0.02
ENSEMBLE, MODEL = "traced", "echo"
_SHAPES = """max_batch_size: 8
input { name: "x" data_type: TYPE_UINT8 dims: 8 }
output { name: "y" data_type: TYPE_UINT8 dims: 8 }
"""
CONFIGS = {
    MODEL: _SHAPES + 'backend: "python"',
    ENSEMBLE: _SHAPES
    + """platform: "ensemble"
ensemble_scheduling {
  step {
    model_name: "echo" model_version: -1
    input_map { key: "x" value: "x" } output_map { key: "y" value: "between" }
  }
  step {
    model_name: "echo" model_version: -1
    input_map { key: "x" value: "between" } output_map { key: "y" value: "y" }
  }
}""",
}
"""The models, which hand through what they are given."""

CODE = """import triton_python_backend_utils as utils

from pipelines.triton_models.dlpack import from_triton, respond

class TritonPythonModel:
    def execute(self, requests):
        given = [utils.get_input_tensor_by_name(one, "x") for one in requests]
        return [respond(utils, {"y": from_triton(each).copy()}) for each in given]
"""


PAUSE = """#include <dlfcn.h>
#include <time.h>
extern "C" void* TRITONSERVER_InferenceTraceDelete(void* trace)
{
  using Delete = void* (*)(void*);
  static const auto next =
      reinterpret_cast<Delete>(dlsym(RTLD_NEXT, "TRITONSERVER_InferenceTraceDelete"));
  const timespec pause{0, PAUSE_NS};
  nanosleep(&pause, nullptr);
  return next(trace);
}
"""
"""What Triton calls between the two moments, slowed down."""


@dataclass
class Counted:
    """What came of some rounds; `ended` counts the servers that ended, by how they did."""

    requests: int = 0
    traced: int = 0
    changes: int = 0
    ended: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Counted") -> None:
        """Add another round's."""
        self.requests += other.requests
        self.traced += other.traced
        self.changes += other.changes
        self.ended += other.ended


class Users:
    """Threads that ask as fast as they are answered, until they are told to stop or nobody does."""

    def __init__(self, port: int, *, count: int) -> None:
        self._port, self._stop, self._served = port, threading.Event(), [0] * count
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(count)]
        for each in self._threads:
            each.start()

    def _ask(self, number: int) -> None:
        tensor = {"name": "x", "shape": [1, 8], "datatype": "UINT8"}
        inputs = [tensor | {"parameters": {"binary_data_size": 8}}]
        how = {"binary_data_output": True}
        head = json.dumps({"id": str(number), "inputs": inputs, "parameters": how}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        link = http.client.HTTPConnection(HOST, self._port, timeout=HANGS_S)
        with suppress(OSError, http.client.HTTPException), closing(link):
            while not self._stop.is_set():
                link.request("POST", f"/v2/models/{ENSEMBLE}/infer", head + bytes(8), headers)
                if not link.getresponse().read().endswith(bytes(8)):
                    raise OSError("this is not what was asked for")
                self._served[number] += 1

    @property
    def served(self) -> int:
        """How many requests were answered."""
        return sum(self._served)

    @property
    def asking(self) -> bool:
        """Whether any still asks."""
        return any(each.is_alive() for each in self._threads)

    def stop(self) -> None:
        """Have them stop, each after its request."""
        self._stop.set()
        for each in self._threads:
            each.join()


def write_models(repository: Path) -> None:
    """Write the models' repository."""
    for name, text in CONFIGS.items():
        (repository / name / "1").mkdir(parents=True, exist_ok=True)
        (repository / name / "config.pbtxt").write_text(f'name: "{name}"\n{text}\n')
    (repository / MODEL / "1" / "model.py").write_text(CODE)


def paused_by(pause_us: int, folder: Path) -> Path:
    """Build what has a preloaded server pause for so long, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "pause.cc"
    source.write_text(PAUSE.replace("PAUSE_NS", str(pause_us * 1000)))
    if why := trace_shim.build(library := folder / "pause.so", source=source):
        raise ServerError(f"the pause cannot be built: {why}", hint=trace_shim.CURE)
    return library


def stress(
    folder: Path, *, requests: int, users: int, toggle_s: float, shim: bool, tick: Tick
) -> Counted:
    """Make at least so many requests, of as many servers as that takes, and count what came of
    them. The trace is turned off and on every `toggle_s` seconds, never where that is 0.
    """
    write_models(folder / "models")
    found = Counted()
    while found.requests < requests:
        left = requests - found.requests
        found.add(_one_server(folder, left, users=users, toggle_s=toggle_s, shim=shim, tick=tick))
    return found


def _one_server(
    folder: Path, requests: int, *, users: int, toggle_s: float, shim: bool, tick: Tick
) -> Counted:
    found, file = Counted(), folder / "server" / "trace.json"
    shutil.rmtree(file.parent, ignore_errors=True)
    models = folder / "models"
    with triton.start(file.parent, repository=models, models=["*"], shim=shim) as server:
        server.wait_ready()
        control.turn_on(server.url)
        asking = Users(server.port, count=users)
        due = time.monotonic() + toggle_s
        try:
            while asking.served < requests and asking.asking:
                time.sleep(POLL_S)
                tick()
                found.traced += _taken(file)
                if toggle_s and time.monotonic() >= due:
                    control.turn_off(server.url)
                    control.turn_on(server.url)
                    found.changes += 2
                    due = time.monotonic() + toggle_s
        except ServerError:  # it does not answer
            pass
        done = asking.served >= requests
        if not done:
            server.wait(HANGS_S)
            found.ended[server.ending or "hangs"] += 1
            server.kill()
        asking.stop()
        found.requests = asking.served
        if done:
            control.turn_off(server.url)
    found.traced += _taken(file, spared=0)
    return found


def _taken(file: Path, *, spared: int = 20) -> int:
    """Count the ensemble's traces in what Triton has written, and remove it but for so many files,
    which may not be whole yet.
    """
    count, written = 0, numbered(file)
    for _, path in written[: len(written) - spared]:
        count += path.read_bytes().count(f'"model_name":"{ENSEMBLE}"'.encode())
        path.unlink()
    return count
