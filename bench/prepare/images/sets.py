"""The images a run asks with: a built set, or a folder of the user's own.

A set is made from a seed: image 7 of a seed shows the same whatever the count, and in whatever
coding, and no two are alike. The bytes also depend on the Pillow that wrote them and, of text, on
the OpenCV that drew it.
"""

import hashlib
import io
import statistics
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import msgspec
import numpy as np
import PIL
import PIL.Image

from bench.prepare.images.folder import found_in
from bench.prepare.images.recipes import (
    CODED,
    CODINGS,
    PHONES,
    RECIPES,
    SIZES,
    Photographs,
    make_image,
)
from bench.prepare.images.scenes import MOST, SCENES
from bench.prepare.pins import DOWNLOADS, MEMBERS, read_members
from bench.record.files import as_json
from bench.record.records import Image
from bench.record.scenario import EACH, Settings, mix_of, parts, weights_of
from pipelines.errors import SourceError
from pipelines.paths import BUILD

IMAGES = BUILD / "images"
COUNT = 32
SEED = 2024

SETS = RECIPES | SIZES | PHONES | CODED | SCENES
"""What can be built, by name."""

DEFAULT_SETS = (*RECIPES, "faces-4", "text-4")

# Raise it when the same seed would give other pictures.
_BUILDER_VERSION = 1

_ALSO = ", ".join(f"-{coding}" for coding in CODINGS if coding)
_PLAIN, _PHONES = ", ".join([*RECIPES, *SIZES]), ", ".join(PHONES)
KNOWN = f"{_PLAIN} (also with {_ALSO}), {_PHONES}, faces-0..{MOST}, text-0..{MOST}"


@dataclass(frozen=True)
class ImageSet:
    """Images to ask with, in a fixed order.

    `left_out`: which of a folder's files are not among them, and why, in words.
    `weights`: of a mix the part of the requests that each image has, together 1; else empty.
    `of`: where each pipeline of a mix has images of its own, which; else empty.
    """

    name: str
    paths: list[Path]
    images: list[Image]
    left_out: str = ""
    weights: Sequence[float] = ()
    of: Mapping[str, range] = field(default_factory=dict)

    def median(self, of: str) -> int:
        """Return the median of the images' width, height or bytes, as often as each is sent."""
        values: list[int] = [getattr(image, of) for image in self.images]
        if not self.weights:
            return round(statistics.median(values))
        return round(float(np.quantile(values, 0.5, weights=self.weights, method="inverted_cdf")))


class IndexedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image of a built set: the file's sha256 and bytes, and its size in pixels.

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


def specs_of(chosen: Iterable[Settings]) -> list[str]:
    """Return the images that runs with these settings ask with, in words, each once; inference
    alone is asked with none.
    """
    asked = [part for one in chosen for part in parts(one).values() if not part.alone]
    return list(dict.fromkeys(part.images for part in asked))


def need_images(
    specs: Iterable[str], *, folder: Path = IMAGES, downloads: Path = DOWNLOADS
) -> None:
    """Build what is missing, and look whether each set, or folder of the user's, has images.

    Raises SourceError as `build_images` and `images_of` do.
    """
    specs = [name for spec in specs for name in mix_of(spec) or [spec]]
    missing = [spec for spec in specs if spec in SETS and not (folder / spec).is_dir()]
    build_images(folder, sets=missing, downloads=downloads)
    for spec in specs:
        images_of(spec, folder=folder)


def images_of(spec: str, *, folder: Path = IMAGES, preprocess: str | None = None) -> ImageSet:
    """Return the images of a built set by its name, those of a folder or file of the user's, or of
    a mix of these, for that way to preprocess. In a mix an image is called SET/NAME.

    Raises SourceError when the set is not built, or when there is no such folder or image in it.
    """
    if mix := mix_of(spec):
        sets = {name: images_of(name, folder=folder, preprocess=preprocess) for name in mix}
        return _mixed(spec, sets, mix)
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


def asked_with(settings: Settings, *, folder: Path = IMAGES) -> ImageSet:
    """Return the images of a run with these settings. Raises SourceError as `images_of` does."""
    specs = {name: part.images for name, part in parts(settings).items()}
    sets = {
        spec: images_of(spec, folder=folder, preprocess=settings.preprocess)
        for spec in specs.values()
    }
    if len(sets) == 1:
        return sets.popitem()[1]
    mix = dict.fromkeys(sets, 0.0)
    for name, weight in weights_of(settings.pipeline).items():
        mix[specs[name]] += weight
    places: dict[str, range] = {}
    end = 0
    for spec, one in sets.items():
        places[spec] = range(end, end := end + len(one.images))
    of = {name: places[spec] for name, spec in specs.items()}
    return replace(_mixed(EACH, sets, mix), of=of)


def _mixed(spec: str, sets: Mapping[str, ImageSet], mix: Mapping[str, float]) -> ImageSet:
    whole = sum(mix.values())
    return ImageSet(
        spec,
        [path for part in sets.values() for path in part.paths],
        [
            msgspec.structs.replace(image, name=f"{name}/{image.name}")
            for name, part in sets.items()
            for image in part.images
        ],
        "; ".join(filter(None, (part.left_out for part in sets.values()))),
        [mix[name] / whole / len(part.images) for name, part in sets.items() for _ in part.images],
    )


def resolved(spec: str) -> str:
    """Return the same images, with folders and files by their absolute path."""
    if mix := mix_of(spec):
        return ",".join(f"{resolved(name)}:{weight:g}" for name, weight in mix.items())
    return spec if spec in SETS or spec == EACH else str(Path(spec).resolve())


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
    recipe, kind = SETS[folder.name], folder.name.split("-")[0]  # faces-3 and -4 share pictures
    own = {photograph: photographs[photograph] for photograph in recipe.photographs}
    files: list[IndexedFile] = []
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Threads help, since Pillow resizes and encodes outside the interpreter's lock.
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary, ThreadPoolExecutor() as pool:
        new = Path(temporary) / "new"
        new.mkdir()
        seeds = [f"{seed} {kind} {position}" for position in range(count)]
        made = pool.map(lambda each: make_image(recipe, own, seed=each), seeds)
        label = f"making {count} {folder.name} images"
        with click.progressbar(made, length=count, label=label, file=sys.stderr) as progress:
            for position, (data, truth) in enumerate(progress):
                path = new / f"{position:03d}.{recipe.ending}"
                path.write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                size = (recipe.width, recipe.height, len(data))
                files.append(IndexedFile(path.name, digest, *size, truth.faces, truth.words))
        assert len({file.sha256 for file in files}) == count, "two images of the set are alike"
        encoder = f"Pillow {PIL.__version__}"
        index = Index(_BUILDER_VERSION, seed, count, _sources(folder.name), encoder, files)
        (new / "index.json").write_bytes(as_json(index) + b"\n")
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        new.rename(folder)
