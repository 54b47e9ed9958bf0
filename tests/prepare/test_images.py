"""The image sets as a user finds them: sizes, bytes, repeatability; and folders of the user's."""

import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from networks import DOWNLOADS
from pictures import GOOD, ODD
from PIL import Image, ImageStat

from bench.commands.preparing import images
from bench.prepare.images import sets
from bench.prepare.images.sets import build_images, images_of, need_images
from pipelines.errors import SourceError
from pipelines.preprocess import ways

BOUNDS = {
    "small": (60, 70, 3_500, 4_500),
    "medium": (500, 375, 100_000, 120_000),
    "large": (3564, 2880, 9_000_000, 10_000_000),
}


def digests(folder: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.jpg"))]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    build_images(folder, sets=["small", "medium"], downloads=DOWNLOADS)
    build_images(folder, sets=["large"], count=3, downloads=DOWNLOADS)
    return folder


@pytest.mark.parametrize(("name", "count"), [("small", 32), ("medium", 32), ("large", 3)])
def test_a_set_is_what_it_promises(built: Path, name: str, count: int) -> None:
    width, height, low, high = BOUNDS[name]
    found = images_of(name, folder=built)
    assert (found.name, len(found.paths)) == (name, count)
    assert (found.median("width"), found.median("height")) == (width, height)
    assert low <= found.median("bytes") <= high
    assert len(set(digests(built / name))) == count, "the images are not distinct"
    for path in found.paths:
        assert low <= path.stat().st_size <= high
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (width, height), "RGB")
            image.draft("RGB", (500, 400))  # a tenth of the pixels will do
            assert max(ImageStat.Stat(image).stddev) > 10, "not a photograph"


@pytest.mark.parametrize("base", ["small", "1mp"])
def test_other_codings_are_of_the_same_pictures(tmp_path: Path, base: str) -> None:
    names = [base, *(f"{base}-{coding}" for coding in ("progressive", "420", "png", "webp"))]
    build_images(tmp_path, sets=names, count=2, downloads=DOWNLOADS)
    found = {name: images_of(name, folder=tmp_path) for name in names}
    formats = {name: one.images[1].format for name, one in found.items()}
    assert list(formats.values()) == ["JPEG", "JPEG", "JPEG", "PNG", "WebP"]
    pixels = {}
    for name, one in found.items():
        data = one.paths[1].read_bytes()
        pixels[name] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)
        if formats[name] == "JPEG":
            with Image.open(io.BytesIO(data)) as image:
                assert bool(image.info.get("progressive")) is name.endswith("progressive")
                assert image.layer[0][1:3] == ((2, 2) if name.endswith("420") else (1, 1))
    first = pixels[base]
    assert (pixels[f"{base}-progressive"] == first).all(), "the same coefficients"
    for name in names[2:]:
        assert abs(pixels[name] - first).mean() < 8, name
    assert abs(first - first[:, ::-1]).mean() > 8, "another picture would be seen"


def test_sets_between_differ_in_nothing_but_size(tmp_path: Path) -> None:
    build_images(tmp_path, sets=["1mp", "2mp", "4mp"], count=1, downloads=DOWNLOADS)
    for megapixels in (1, 2, 4):
        found = images_of(f"{megapixels}mp", folder=tmp_path)
        pixels = found.median("width") * found.median("height")
        assert pixels == 995_328 * megapixels
        assert 0.85e6 <= found.median("bytes") / megapixels <= 1.0e6


def test_a_mix_is_of_sets_and_folders_by_weight(built: Path, tmp_path: Path) -> None:
    shutil.copy(built / "medium" / "000.jpg", tmp_path / "one.jpg")
    mix = images_of(f"small:3, {tmp_path}:1", folder=built)
    assert len(mix.paths) == len(mix.images) == 33
    assert (mix.images[0].name, mix.images[-1].name) == ("small/000.jpg", f"{tmp_path}/one.jpg")
    assert mix.weights == pytest.approx([0.75 / 32] * 32 + [0.25])
    assert (mix.median("width"), mix.median("height")) == (60, 70)
    assert images_of(f"small:1,{tmp_path}:3", folder=built).median("width") == 500
    assert sets.resolved("small:3,a:1") == f"small:3,{Path.cwd()}/a:1"
    (tmp_path / "a:1").mkdir()
    shutil.copy(built / "medium" / "000.jpg", tmp_path / "a:1")
    assert len(images_of(str(tmp_path / "a:1"), folder=built).paths) == 1, "it is a folder"


def test_the_index_says_what_was_made(built: Path) -> None:
    index = json.loads((built / "medium" / "index.json").read_bytes())
    assert (index["seed"], index["count"]) == (sets.SEED, 32)
    assert set(index["photographs"]) >= {"china", "flower", "astronaut", "coffee"}
    assert [file["sha256"] for file in index["files"]] == digests(built / "medium")
    first = index["files"][0]
    assert (first["name"], first["width"], first["height"]) == ("000.jpg", 500, 375)
    assert first["bytes"] == (built / "medium" / "000.jpg").stat().st_size


def test_a_seed_gives_the_same_images_whatever_the_count(built: Path, tmp_path: Path) -> None:
    build_images(tmp_path, sets=["small", "medium"], count=4, downloads=DOWNLOADS)
    build_images(tmp_path, sets=["large"], count=1, downloads=DOWNLOADS)
    for name, count in (("small", 4), ("medium", 4), ("large", 1)):
        assert digests(tmp_path / name) == digests(built / name)[:count]


def test_another_seed_gives_other_images(built: Path, tmp_path: Path) -> None:
    build_images(tmp_path, sets=["small"], seed=1, downloads=DOWNLOADS)
    assert not set(digests(tmp_path / "small")) & set(digests(built / "small"))


def test_a_whole_set_is_kept_and_any_other_made_anew(tmp_path: Path) -> None:
    def build(count: int) -> int:
        (folder,) = build_images(tmp_path, sets=["small"], count=count, downloads=DOWNLOADS)
        assert [path.name for path in tmp_path.iterdir()] == ["small"]
        assert len(digests(folder)) == count
        return (folder / "000.jpg").stat().st_mtime_ns

    first = build(3)
    assert build(3) == first
    assert build(2) != first
    (tmp_path / "small" / "001.jpg").write_bytes(b"damaged")
    build(2)
    assert images_of("small", folder=tmp_path).median("width") == 60
    assert b"damaged" not in [path.read_bytes() for path in (tmp_path / "small").iterdir()]
    (tmp_path / "small" / "index.json").write_text("{")
    build(2)


def test_a_user_brings_a_folder_of_images(built: Path, tmp_path: Path) -> None:
    """Told by their bytes and searched to the bottom, whatever they are called and links do."""
    odd = ["IMG.JPG", "no ending", "two  spaces.png", "line\nbreak.jpg", "<b>bold.jpg"]
    odd.append(os.fsdecode(b"latin-\xe9.jpg"))
    for number, name in enumerate(odd):
        shutil.copy(built / "medium" / f"00{number}.jpg", tmp_path / name)
    below = tmp_path / "below" / "below"
    below.mkdir(parents=True)
    shutil.copy(built / "medium" / "000.jpg", below / "deep.jpg")
    (below / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "e.jpg").mkdir()
    (tmp_path / "._IMG.JPG").write_bytes(b"of a Mac")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "c.jpg").write_bytes(b"not an image")
    (tmp_path / "d.jpg").write_bytes((built / "medium" / "002.jpg").read_bytes()[:20])
    found = images_of(str(tmp_path))
    assert {path.name for path in found.paths} == {*odd, "deep.jpg"}
    assert found.paths == sorted(found.paths)
    assert found.name == str(tmp_path)
    assert (found.median("width"), found.median("height")) == (500, 375)
    assert found.median("bytes") > 100_000
    assert found.left_out == (
        "2 of 9 files left out: c.jpg (the image is no JPEG, PNG, WebP, BMP or TIFF), "
        "d.jpg (the JPEG is truncated)"
    )


def test_a_user_brings_a_single_image(built: Path) -> None:
    path = built / "medium" / "000.jpg"
    assert images_of(str(path)).paths == [path]


def test_a_folder_of_unreadable_images_is_an_error_that_names_them(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match="there is no image in ") as raised:
        images_of(str(tmp_path))
    assert ": 7 of 7 files left out: " in str(raised.value)
    assert "4.jpg (the image is empty), and 2 more" in str(raised.value)


def test_what_a_way_cannot_read_is_left_out_for_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.webp").write_bytes(ODD["lossy webp"])
    (tmp_path / "b.jpg").write_bytes(GOOD)
    monkeypatch.setattr(ways.features, "check", lambda part: part != "webp")
    assert len(images_of(str(tmp_path), preprocess="opencv").paths) == 2
    found = images_of(str(tmp_path), preprocess="pillow")
    assert [path.name for path in found.paths] == ["b.jpg"]
    assert found.left_out == "1 of 2 files left out: a.webp (pillow reads no WebP here)"


def test_a_huge_header_is_left_out(tmp_path: Path) -> None:
    Image.new("L", (64_000, 4)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    for name, height in (("a.jpg", 1_500), ("b.jpg", 60_000)):
        old = (4).to_bytes(2) + (64_000).to_bytes(2)
        new = height.to_bytes(2) + (64_000).to_bytes(2)
        (tmp_path / name).write_bytes(data.replace(old, new))
    found = images_of(str(tmp_path))
    assert len(found.paths) == 1
    assert found.median("height") == 1_500
    assert "b.jpg (the image is 64000x60000, larger than" in found.left_out


@pytest.mark.parametrize(
    ("spec", "cause", "cure"),
    [
        (".", "there is no image in .", "WebP"),
        ("huge", "'huge' is neither", "small, medium, large"),
        ("large", "'large' is not built", "run 'bench images --sets large'"),
    ],
)
def test_what_has_no_images_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, cause: str, cure: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=cause) as raised:
        images_of(spec, folder=tmp_path)
    assert cure in raised.value.hint


def test_an_unknown_set_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no image set is called 'faces-13'") as raised:
        build_images(tmp_path, sets=["faces-13"])
    assert raised.value.hint == (
        "the sets are: small, medium, large, 1mp, 2mp, 4mp (also with -progressive, -420, -png, "
        "-webp), phone, phone-50, phone-95, faces-0..12, text-0..12"
    )


def test_sets_that_are_not_there_are_built_and_nothing_else(tmp_path: Path) -> None:
    build_images(tmp_path, sets=["small"], count=2, downloads=DOWNLOADS)
    mine = shutil.copytree(tmp_path / "small", tmp_path / "mine")
    before = digests(mine)
    need_images(["small", "text-1", str(mine), "text-1"], folder=tmp_path, downloads=DOWNLOADS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "small", "text-1"]
    assert digests(mine) == before
    with pytest.raises(SourceError, match="neither an image set, nor a folder or file"):
        need_images(["small", str(tmp_path / "gone")], folder=tmp_path, downloads=DOWNLOADS)
    assert len(images_of("small", folder=tmp_path).paths) == 2, "a set that was there is another"
    found = images_of("text-1", folder=tmp_path)
    assert (found.name, len(found.paths)) == ("text-1", 32)
    assert (found.median("width"), found.median("height")) == (960, 960)


def test_nothing_is_said_of_sets_whose_content_nobody_counted(built: Path) -> None:
    for name in ("small", "medium", "large"):
        files = json.loads((built / name / "index.json").read_bytes())["files"]
        assert all({"faces", "words"}.isdisjoint(file) for file in files)


def test_the_command_builds_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "IMAGES", tmp_path)
    result = CliRunner().invoke(images.command, ["--count", "2", "--sets", "small"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{tmp_path}/small 2 images, median 60x70 pixels, ")
    assert "making 2 small images" in result.stderr


def test_the_command_builds_faces_and_text_too_unless_told_otherwise() -> None:
    shown = CliRunner().invoke(images.command, ["--help"])
    words = " ".join(shown.output.split())
    assert "[default: small,medium,large,faces-4,text-4]" in words
    assert "small, medium, large, 1mp, 2mp, 4mp (also with " in words
    assert "faces-0..12, text-0..12" in words
