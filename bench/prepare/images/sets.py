"""The images a run asks with: a built set, or a folder of the user's own.

A set is made from a seed: image 7 of a seed shows the same whatever the count, and no two are
alike. The JPEG bytes also depend on the Pillow that wrote them and, of text, on the OpenCV that
drew it.
"""

import hashlib
import io
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec
import PIL
import PIL.Image

from bench.prepare.images.folder import found_in
from bench.prepare.images.recipes import RECIPES, Photographs, make_jpeg
from bench.prepare.images.scenes import MOST, SCENES
from bench.prepare.pins import DOWNLOADS, MEMBERS, read_members
from bench.record.files import as_json
from bench.record.records import Image
from pipelines.errors import SourceError
from pipelines.paths import BUILD

IMAGES = BUILD / "images"
COUNT = 32
SEED = 2024

SETS = RECIPES | SCENES
"""What can be built, by name."""

DEFAULT_SETS = (*RECIPES, "faces-4", "text-4")

# Raise it when the same seed would give other pictures.
_BUILDER_VERSION = 1

KNOWN = f"{', '.join(RECIPES)}, faces-0..{MOST}, text-0..{MOST}"


@dataclass(frozen=True)
class ImageSet:
    """Images to ask with, in a fixed order.

    `left_out`: which of a folder's files are not among them, and why, in words.
    """

    name: str
    paths: list[Path]
    images: list[Image]
    left_out: str = ""

    def median(self, of: str) -> int:
        """Return the median of the images' width, height or bytes."""
        values: list[int] = [getattr(image, of) for image in self.images]
        return round(statistics.median(values))


class IndexedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image of a built set: the JPEG file's sha256 and bytes, and its size in pixels.

    `faces`: how many it shows; `words`: the lines of text from top to bottom. Either is None, and
    not in the file, for sets that are not about it.
    """

    name: str
    sha256: str
    width: int
    height: int
    bytes: int
    faces: int | None = None
    words: list[str] | None = None


class Index(msgspec.Struct, frozen=True):
    """`index.json` of a built set: what it was made from, and what came out.

    `photographs` gives the sha256 of each source by name; `encoder` is the Pillow that wrote it.
    """

    builder: int
    seed: int
    count: int
    photographs: dict[str, str]
    encoder: str
    files: list[IndexedFile]


def build_images(
    folder: Path,
    *,
    count: int = COUNT,
    seed: int = SEED,
    sets: Sequence[str] = DEFAULT_SETS,
    downloads: Path = DOWNLOADS,
) -> list[Path]:
    """Build each set as `folder`/SET/000.jpg … with an index.json, and return the sets' folders.

    A set that is there, whole and of the same count, seed and sources, is left as it is.
    Raises SourceError when a set is not known, or the photographs cannot be fetched.
    """
    if unknown := [name for name in sets if name not in SETS]:
        raise SourceError(f"no image set is called {unknown[0]!r}", hint=f"the sets are: {KNOWN}")
    names = list(dict.fromkeys(sets))
    missing = [name for name in names if not _is_built(folder / name, count, seed=seed)]
    wanted = dict.fromkeys(photograph for name in missing for photograph in SETS[name].photographs)
    photographs = {
        name: PIL.Image.open(io.BytesIO(data)).convert("RGB")
        for name, data in read_members(wanted, downloads=downloads).items()
    }
    for name in missing:
        _build_set(folder / name, photographs, count=count, seed=seed)
    return [folder / name for name in names]


def need_images(
    specs: Iterable[str], *, folder: Path = IMAGES, downloads: Path = DOWNLOADS
) -> None:
    """Build what is missing, and look whether each set, or folder of the user's, has images.

    Raises SourceError as `build_images` and `images_of` do.
    """
    specs = list(specs)
    missing = [spec for spec in specs if spec in SETS and not (folder / spec).is_dir()]
    build_images(folder, sets=missing, downloads=downloads)
    for spec in specs:
        images_of(spec, folder=folder)


def images_of(spec: str, *, folder: Path = IMAGES, preprocess: str | None = None) -> ImageSet:
    """Return the images of a built set by its name, or those of a folder or file of the user's,
    for that way to preprocess.

    Raises SourceError when the set is not built, or when there is no such folder or image in it.
    """
    source = folder / spec if spec in SETS else Path(spec)
    if not source.exists() and spec in SETS:
        cure = f"run 'bench images --sets {spec}'"
        raise SourceError(f"the image set {spec!r} is not built", hint=cure)
    if not source.exists():
        raise SourceError(
            f"{spec!r} is neither an image set, nor a folder or file",
            hint=f"name a folder of images, or one of the sets: {KNOWN}",
        )
    found = found_in(source, preprocess=preprocess)
    left_out = "" if spec in SETS else found.said()
    return ImageSet(spec, list(found.images), list(found.images.values()), left_out)


def _is_built(folder: Path, count: int, *, seed: int) -> bool:
    """Whether the folder's index is of what is asked, and its files are those of the index."""
    try:
        index = msgspec.json.decode((folder / "index.json").read_bytes(), type=Index)
        made = (index.builder, index.seed, index.count, index.photographs)
        return made == (_BUILDER_VERSION, seed, count, _sources(folder.name)) and all(
            hashlib.sha256((folder / file.name).read_bytes()).hexdigest() == file.sha256
            for file in index.files
        )
    except (OSError, msgspec.MsgspecError):
        return False


def _sources(name: str) -> dict[str, str]:
    """Return the sha256 of each photograph of the set."""
    return {photograph: MEMBERS[photograph].sha256 for photograph in SETS[name].photographs}


def _build_set(folder: Path, photographs: Photographs, *, count: int, seed: int) -> None:
    """Build one set beside its folder, then put it in the folder's place; progress is on stderr."""
    recipe, kind = SETS[folder.name], folder.name.split("-")[0]  # faces-3 and -4 share backgrounds
    own = {photograph: photographs[photograph] for photograph in recipe.photographs}
    files: list[IndexedFile] = []
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Threads help, since Pillow resizes and encodes outside the interpreter's lock.
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary, ThreadPoolExecutor() as pool:
        new = Path(temporary) / "new"
        new.mkdir()
        seeds = [f"{seed} {kind} {position}" for position in range(count)]
        made = pool.map(lambda each: make_jpeg(recipe, own, seed=each), seeds)
        label = f"making {count} {folder.name} images"
        with click.progressbar(made, length=count, label=label, file=sys.stderr) as progress:
            for position, (jpeg, truth) in enumerate(progress):
                path = new / f"{position:03d}.jpg"
                path.write_bytes(jpeg)
                digest = hashlib.sha256(jpeg).hexdigest()
                size = (recipe.width, recipe.height, len(jpeg))
                files.append(IndexedFile(path.name, digest, *size, truth.faces, truth.words))
        assert len({file.sha256 for file in files}) == count, "two images of the set are alike"
        encoder = f"Pillow {PIL.__version__}"
        index = Index(_BUILDER_VERSION, seed, count, _sources(folder.name), encoder, files)
        (new / "index.json").write_bytes(as_json(index) + b"\n")
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        new.rename(folder)
