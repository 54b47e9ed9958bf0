"""The library that Triton is preloaded with: what it mends, and where it stays out."""

from pathlib import Path

import psutil
import pytest
from need import need

from bench.commands.selfcheck.traced_load import paused_by, stress, write_models
from pipelines.processes import run
from pipelines.servers import triton
from pipelines.servers.launch import trace_shim

CORE = """
#include <cstdint>
using Release = void (*)(void*, void*);
extern "C" void* TRITONSERVER_ApiVersion(uint32_t* major, uint32_t* minor)
{
  *major = 1, *minor = MINOR;
  return nullptr;
}
extern "C" void* TRITONSERVER_InferenceTraceTensorNew(
    void** trace, int, uint64_t, void*, void*, Release release, void* userp)
{
  release(*trace, userp);
  return nullptr;
}
"""
"""Triton's core, which releases a trace at once."""

SERVER = """
#include <cstdint>
#include <cstdio>
#include <memory>
extern "C" void* TRITONSERVER_InferenceTraceTensorNew(
    void**, int, uint64_t, void*, void*, void (*)(void*, void*), void*);
static bool alive = true;
struct Trace {
  ~Trace() { alive = false; }
};
static void Release(void*, void* userp)
{
  delete static_cast<std::shared_ptr<Trace>*>(userp);
  printf("%s when it unlocks, ", alive ? "alive" : "freed");
}
int main()
{
  void* trace = nullptr;
  auto userp = new std::shared_ptr<Trace>(new Trace());
  TRITONSERVER_InferenceTraceTensorNew(&trace, 0, 0, nullptr, nullptr, Release, userp);
  printf("%s in the end", alive ? "alive" : "freed");
}
"""
"""The server, which needs its trace for a moment after its last reference to it is gone."""


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    need("compiler")
    library = tmp_path / "shim.so"
    assert trace_shim.build(library) == ""
    return library


def _compile(source: str, made: Path, *options: str) -> None:
    made.with_suffix(".cc").write_text(source)
    program = trace_shim.compiler()
    assert program
    done = run([program, "-o", str(made), str(made.with_suffix(".cc")), *options])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("minor", "there"), [(34, "alive"), (35, "freed")])
def test_a_trace_outlives_its_release_in_the_server_that_is_known(
    shim: Path, tmp_path: Path, minor: int, there: str
) -> None:
    core, server = tmp_path / "libcore.so", tmp_path / "server"
    _compile(CORE, core, "-shared", "-fPIC", f"-DMINOR={minor}")
    _compile(SERVER, server, str(core))
    alone = run([str(server)]).stdout
    assert alone == "freed when it unlocks, freed in the end"
    with_it = run([*trace_shim.preloading(shim), str(server)]).stdout
    assert with_it == f"{there} when it unlocks, freed in the end"


def test_without_a_compiler_setup_says_what_may_happen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert trace_shim.build(tmp_path / "shim.so") == "there is no C++ compiler"
    assert trace_shim.preloading(tmp_path / "shim.so") == []


@pytest.mark.usefixtures("triton_parts")
def test_the_server_has_it_and_its_models_do_not(tmp_path: Path) -> None:
    need("compiler")
    assert trace_shim.LIBRARY.is_file(), "run 'make setup'"
    write_models(tmp_path / "models")
    with triton.start(tmp_path / "server", repository=tmp_path / "models", models=["*"]) as server:
        server.wait_ready()
        started = psutil.Process(server.process.pid).children(recursive=True)
        having = {each.name() for each in started if _maps(each, trace_shim.LIBRARY)}
        assert having == {"tritonserver"}
        assert {each.name() for each in started} > having


def _maps(process: psutil.Process, library: Path) -> bool:
    return library.name in Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.usefixtures("triton_parts")
def test_a_traced_server_survives_what_would_crash_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the shim this pause has it crash every few hundred requests."""
    need("compiler")
    monkeypatch.setenv("LD_PRELOAD", str(paused_by(100, tmp_path)))
    load = {"requests": 600, "users": 4}
    found = stress(tmp_path, **load, toggle_s=0.05, shim=True, tick=lambda: None)
    assert not found.ended
    assert found.requests >= 600
    assert 0 < found.traced <= found.requests
    assert found.changes > 0
