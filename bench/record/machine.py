"""What a run was measured on: the machine, its counters of energy, and the versions of the packages
that matter.

Nothing here names the host or its user, and no package is imported to be asked for its version.
"""

import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

import psutil

_PACKAGES = (
    "visiontax",
    "nvidia-pytriton",
    "tritonclient",
    "nvidia-dali-cuda120",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnx",
    "opencv-python-headless",
    "numpy",
    "grpcio",
    "locust",
    "gevent",
    "geventhttpclient",
    "msgspec",
)
ZONES = "VISIONTAX_POWERCAP"
"""Names another folder of RAPL's zones, where a container has the host's elsewhere."""

NO_RAPL = "no RAPL in {}: a virtual machine or a container often shows none"
ONLY_ROOT = (
    "{0} can be read by root only: run as root, or 'sudo chmod a+r {0}' until the next start"
)

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def versions() -> dict[str, str]:
    """Return name → version of Python and the installed packages; absent ones are left out.

    `pillow` says which of the two packages that own PIL/ it is: "Pillow 13.0.0" or
    "pillow-simd 12.1.1.post0 (AVX2)", with what `scripts/setup` built it for where that is known.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        if version := version_of(name):
            found[name] = version
    if pillow := _pillow():
        found["pillow"] = pillow
    return found


def version_of(package: str) -> str | None:
    """Return the version of an installed package, or None when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _pillow() -> str | None:
    if version := version_of("pillow-simd"):
        built_for = Path(sys.prefix, ".pillow-simd")
        simd = f" ({built_for.read_text().strip()})" if built_for.is_file() else ""
        return f"pillow-simd {version}{simd}"
    version = version_of("pillow")
    return f"Pillow {version}" if version else None


def machine() -> dict[str, str | int | float | None]:
    """Return `cpu_model`, `cores`, `cpu_quota_cores`, `memory_bytes` and `kernel`.

    `cores` counts what this process may use: its affinity, cut to the whole cores (at least one) of
    its control group's quota. `cpu_quota_cores` is None when there is no quota. `memory_bytes` is
    the machine's, or the control group's limit when that is lower.
    """
    quota, limit = cpu_quota_cores(), memory_limit_bytes()
    cores, memory = _affinity(), psutil.virtual_memory().total
    return {
        "cpu_model": _cpu_model(),
        "cores": cores if quota is None else max(1, min(cores, int(quota))),
        "cpu_quota_cores": quota,
        "memory_bytes": memory if limit is None else min(memory, limit),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def powercap() -> Path:
    """Return where Linux shows RAPL's counters of energy."""
    return Path(os.environ.get(ZONES, "/sys/class/powercap"))


def rapl_zones(folder: Path) -> dict[str, Path]:
    """Return the folders of the counters that have nothing in common, by name: `package-0` of all
    of a processor, `package-0/dram` of its memory, where that is counted.
    """
    zones = {path.name: path for path in sorted(folder.glob("intel-rapl:*"))}
    named = {name: _read(path / "name") for name, path in zones.items()}
    found = {}
    for name, path in zones.items():
        above = named.get(name.rpartition(":")[0], "")
        if named[name].startswith("package"):
            found[named[name]] = path
        elif named[name] == "dram" and above.startswith("package"):
            found[f"{above}/dram"] = path
    return found


def _affinity() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model(proc: Path = _PROC) -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", (proc / "cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def cpu_quota_cores(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float | None:
    """Return how many cores' worth of time this process's control groups grant, or None.

    None says that no group of it, nor one above, has a quota (version 1 and 2 of cgroups).
    """
    quotas = []
    for folder in _groups("cpu", proc, cgroups):
        v2 = _read(folder / "cpu.max").split()
        v1 = [_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        quota, period = v2 if len(v2) == 2 else v1
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def memory_limit_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int | None:
    """Return the lowest memory limit of this process's control groups, or None without one.

    Version 1 of cgroups says "no limit" by a number larger than any memory.
    """
    limits = []
    for folder in _groups("memory", proc, cgroups):
        limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if limit.isdigit():
            limits.append(int(limit))
    return min(limits, default=None)


def _groups(controller: str, proc: Path, cgroups: Path) -> list[Path]:
    """Return the folders of this process's control group and of those above it.

    In a container the path may not exist below its own mount: the mount itself is then the group.
    """
    folders = []
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = cgroups / controller if controllers else cgroups
        group = top / path.strip("/")
        folders += [group, *(above for above in group.parents if above.is_relative_to(top))]
    return [folder for folder in folders if folder.is_dir()]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
