"""scripts/gpu_run: packing and joining on small wheels, and the whole of it on the CPU."""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from processes import PYTHON, ROOT, TIMEOUT_S, run, write_program
from wheels import write_wheel

SCRIPT = ROOT / "scripts" / "gpu_run"
VERSION = "{}.{}".format(*sys.version_info[:2])
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "visiontax"
version = "0"
[project.optional-dependencies]
dev = ["tool[extra]"]
"""
BACKEND = """
import zipfile
NAME = "visiontax-0-py3-none-any.whl"
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(folder + "/" + NAME, "w") as wheel:
        info = "visiontax-0.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: visiontax\\nVersion: 0")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true")
        wheel.writestr(info + "RECORD", "")
    return NAME
"""
BENCH = """
import os, sys
import tiny
print("called:", *sys.argv[1:], flush=True)
if sys.argv[1] == os.environ.get("FAIL_AT"):
    sys.exit(int(os.environ["FAIL_WITH"]))
"""
SOURCES = """
from collections import namedtuple
from pathlib import Path
MEMBERS = {"one": namedtuple("Member", "package")("photograph.whl")}
def fetch(package):
    path = Path("build/downloads") / package
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"p" * 500_000)
    return path
"""


def wheel(folder: Path, name: str, version: str = "1.0", *, size: int = 10, more: str = "") -> str:
    """Write a wheel with one module of about that size, and return its line for a lock."""
    path = write_wheel(folder, name, version, more=more, files={f"{name}.py": b"#" * size})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} \\\n    --hash=sha256:{digest}\n"


class Clone:
    """A small project with the real script, and a folder that stands for the package index."""

    def __init__(self, folder: Path) -> None:
        """One that is there, or else a new one."""
        self.root, self.index, self.wheels = folder / "clone", folder / "index", folder / "wheels"
        if not self.root.exists():
            self._make()

    def _make(self) -> None:
        for made in (self.root / "scripts", self.root / "bench" / "prepare", self.index):
            made.mkdir(parents=True)
        shutil.copy(SCRIPT, self.root / "scripts")
        for name, text in (
            ("pyproject.toml", PROJECT),
            ("backend.py", BACKEND),
            ("bench/__init__.py", ""),
            ("bench/__main__.py", BENCH),
            ("bench/prepare/__init__.py", ""),
            ("bench/prepare/pins.py", SOURCES),
        ):
            (self.root / name).write_text(text)
        shutil.copy(carried_pip(), self.index)
        tiny = wheel(self.index, "tiny", size=1_000_000)
        tool, other = wheel(self.index, "tool"), wheel(self.index, "other")
        other = other.replace(" \\", " ; sys_platform == 'win32' \\", 1)
        runtime = wheel(self.index, "onnxruntime")
        (self.root / "requirements.lock").write_text(tiny + tool + other + runtime)
        extra = (
            "Provides-Extra: cuda\nProvides-Extra: cudnn\nRequires-Dist: cudnn; extra=='cudnn'\n"
        )
        for version in ("1.23.2", "1.0"):
            wheel(self.index, "onnxruntime_gpu", version, more=f"{extra}Requires-Dist: tiny\n")
        wheel(self.index, "cudnn")
        wheel(self.index, "cuda_bindings", "12.9")
        wheel(self.index, "cuda_bindings", "13.1")
        (self.root / "requirements-server.lock").write_text(wheel(self.index, "server"))

    def call(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script as it would be where there is no network beside `index`."""
        variables = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PATH": f"{Path(sys.base_prefix, 'bin')}:{os.environ['PATH']}",
        }
        script = (self.root / "scripts" / "gpu_run",)
        return run(script, *arguments, folder=self.root.parent, variables=variables | environment)

    def pack(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.call("--pack", "--python", PYTHON, "--target", VERSION, *arguments, self.wheels)


def carried_pip() -> Path:
    """The wheel of pip that Python itself carries."""
    import ensurepip

    for found in Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"):
        return found
    pytest.skip("this Python carries no wheel of pip: apt install python3-venv")


@pytest.fixture
def gpu(tmp_path: Path) -> str:
    """A PATH on which nvidia-smi finds a GPU."""
    return stand_in(tmp_path, 'echo "GPU 0: Made Up (UUID: GPU-1)"')


def stand_in(folder: Path, script: str) -> str:
    """Return a PATH whose nvidia-smi is that script."""
    nvidia = write_program(folder / "bin" / "nvidia-smi", script)
    return f"{nvidia.parent}:{Path(sys.base_prefix, 'bin')}:{os.environ['PATH']}"


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a clone whose wheels are packed, in pieces."""
    folder = tmp_path_factory.mktemp("pieces")
    done = Clone(folder).pack("--split", "400K")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def carried(in_pieces: Path, tmp_path: Path) -> Clone:
    """A copy of that clone."""
    shutil.copytree(in_pieces, tmp_path / "carried")
    return Clone(tmp_path / "carried")


def packed(clone: Clone) -> set[str]:
    return {path.name for path in clone.wheels.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--frob"], "unknown option --frob"),
        ([], "WHEELS is missing"),
        (["--device"], "--device needs a value"),
        (["--device", "tpu", "W"], "not a device: tpu"),
        (["--device", "cpu", "W"], "there is no folder"),
        (["--device", "cpu", "W", "O", "more"], "too many arguments: O more"),
        (["--device", "cpu", "--python", "no-such-python"], "--python no-such-python does not run"),
        (["--pack", "--target", "3.8", "W"], "--target 3.8"),
        (["--pack", "--python", "no-such-python", "W"], "no-such-python does not run"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_cure(
    clone: Clone, arguments: list[str], cause: str
) -> None:
    done = clone.call(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert cause in done.stderr
    assert "\n  hint: " in done.stderr


def test_without_a_gpu_it_ends_before_anything_is_installed(clone: Clone, tmp_path: Path) -> None:
    done = clone.call("wheels", PATH=stand_in(tmp_path, "exit 9"))
    assert done.returncode == 1
    assert "error: there is no GPU here" in done.stderr
    assert not (clone.root / "build" / "gpu_run" / "venv").exists()


@pytest.mark.parametrize(
    ("arguments", "for_gpu"),
    [
        (("--device", "cpu"), set()),
        ((), {"onnxruntime_gpu-1.23.2", "cudnn-1.0", "cuda_bindings-12.9"}),
        (("--cuda", "13"), {"onnxruntime_gpu-1.0", "cudnn-1.0", "cuda_bindings-13.1"}),
    ],
    ids=["cpu", "gpu", "CUDA 13"],
)
def test_it_packs_what_the_host_needs_and_no_more(
    clone: Clone, arguments: tuple[str, ...], for_gpu: set[str]
) -> None:
    done = clone.pack(*arguments)
    assert done.returncode == 0, done.stderr
    names = {name.split("-")[0] for name in packed(clone) if name.endswith(".whl")}
    assert names == {"tiny", "server", "pip", "onnxruntime"}
    found = {path.name.removesuffix("-py3-none-any.whl") for path in clone.wheels.glob("gpu/*")}
    assert found == for_gpu
    assert (clone.wheels / "PYTHON").read_text() == f"{VERSION}\n"
    assert (clone.wheels / "downloads" / "photograph.whl").stat().st_size == 500_000


def test_a_package_that_cannot_be_had_is_named(clone: Clone) -> None:
    (clone.index / "tiny-1.0-py3-none-any.whl").unlink()
    done = clone.pack()
    assert done.returncode == 1
    assert "tiny==1.0" in done.stderr
    assert "error: fetching the packages failed" in done.stderr


def test_what_was_packed_is_installed_without_a_network(carried: Clone, gpu: str) -> None:
    assert len([name for name in packed(carried) if name.startswith("tiny")]) == 3
    files = [path for path in carried.wheels.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in files) <= 400 << 10
    shutil.rmtree(carried.root / "build")
    (carried.root / "build" / "libpython").mkdir(parents=True)
    (carried.root / "build" / "libpython" / f"libpython{VERSION}.so.1.0").touch()
    done = carried.call("wheels", "out", "--", "--rounds", "3", PIP_FIND_LINKS="", PATH=gpu)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "joined tiny-1.0-py3-none-any.whl from 3 pieces" in done.stdout
    assert "joined photograph.whl from 2 pieces" in done.stdout
    called = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("called:")]
    assert [line[0] for line in called] == ["doctor", "images", "study"]
    assert called[-1][:4] == ["study", "overhead", "--set", "device=gpu"]
    assert called[-1][-2:] == ["--rounds", "3"]
    assert str(carried.root.parent / "out") in called[-1]
    assert (carried.root / "build" / "downloads" / "photograph.whl").stat().st_size == 500_000
    assert "called: models --device gpu" in (carried.root.parent / "out" / "models.txt").read_text()
    venv = carried.root / "build" / "gpu_run" / "venv" / "bin" / "python"
    for name, there in (
        *(("tiny", True), ("server", True), ("tool", False)),
        *(("onnxruntime_gpu", True), ("cuda_bindings", True), ("onnxruntime", False)),
    ):
        assert (run((venv, "-c", f"import {name}")).returncode == 0) == there, name


def test_pieces_and_wheels_that_did_not_arrive_are_named(carried: Clone) -> None:
    (piece,) = carried.wheels.glob("tiny-*.part-001")
    piece.rename(carried.root / "kept")
    done = carried.call("--device", "cpu", "wheels")
    assert done.returncode == 1
    assert piece.name in done.stderr
    assert "did not arrive whole" in done.stderr
    (carried.wheels / "SHA256SUMS").unlink()
    done = carried.call("--device", "cpu", "wheels")
    assert "a piece of tiny-1.0-py3-none-any.whl is missing before" in done.stderr
    for left in carried.wheels.glob("tiny-*"):
        left.unlink()
    done = carried.call("--device", "cpu", "wheels")
    assert done.returncode == 1
    assert done.stderr.startswith("tiny==1.0\nerror: no wheel for Python")
    assert "hint: 'scripts/gpu_run --pack --target" in done.stderr


@pytest.mark.parametrize(("step", "code"), [("models", 1), ("study", 4), ("study", 130)])
def test_the_exit_code_is_that_of_the_step_that_failed(clone: Clone, step: str, code: int) -> None:
    wheel(clone.root, "tiny")
    with zipfile.ZipFile(clone.root / "tiny-1.0-py3-none-any.whl") as archive:
        archive.extract("tiny.py", clone.root)
    done = clone.call(
        *("--device", "cpu", "--python", PYTHON, "out"), FAIL_AT=step, FAIL_WITH=str(code)
    )
    assert done.returncode == code
    kept = clone.root.parent / "out"
    assert (f"done: {kept}" if code == 4 else f"until then is in {kept}") in done.stdout
    assert (kept / "doctor.txt").exists()


@pytest.mark.usefixtures("triton_parts")
@pytest.mark.triton
def test_the_whole_of_it_on_the_cpu(tmp_path: Path) -> None:
    done = run(
        (SCRIPT, "--device", "cpu", "--python", PYTHON, tmp_path / "out", "--"),
        *("--set", "pipeline=classification", "--set", "images=small", "--set", "place=server"),
        *("--set", "users=1", "--set", "preprocess=opencv", "--set", "warmup=0.5s"),
        *("--duration", "4s"),
        folder=tmp_path,
        timeout_s=2 * TIMEOUT_S,
    )
    assert done.returncode in (0, 4), done.stderr
    for step in ("[1/4]", "[2/4]", "[3/4]", "[4/4]"):
        assert step in done.stdout
    assert "triton" in (tmp_path / "out" / "doctor.txt").read_text()
    (table,) = (tmp_path / "out").glob("*-study-overhead/table.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["place"] for row in rows] == ["none", "server"]
    for row in rows:
        assert float(row["throughput"]) > 0
        assert (table.parent / row["runs"] / "manifest.json").exists()
