"""Every way to preprocess, by name, and how much of an image each can decode."""

import math

from pipelines.errors import VisiontaxError

WAYS = {
    "opencv": "pipelines.preprocess.opencv:OpenCV",
    "pillow": "pipelines.preprocess.pillow:Pillow",
    "simplejpeg": "pipelines.preprocess.simplejpeg:SimpleJpeg",
    "dali": "pipelines.preprocess.dali_graph:Dali",
}
"""Where each way is; only the one that is used is imported."""

FULL, CAREFUL, SCALED = "full", "careful", "scaled"
DECODES = {FULL: math.inf, CAREFUL: 3.0, SCALED: 1.0}
"""How much of an image is decoded, by how many times smaller the resize after it makes that still:
all of it where it is to be infinitely often.
"""

SCALING = ("opencv", "pillow", "simplejpeg")
"""The ways that can decode fewer pixels than an image has."""

DECODE = "decode"
"""The parameter of a request to Triton that says how much is decoded."""


def check_decode(preprocess: str, decode: str) -> None:
    """Raise VisiontaxError when the way cannot decode that much."""
    if decode not in DECODES:
        raise VisiontaxError(f"unknown decode: {decode}", hint=f"known: {', '.join(DECODES)}")
    if decode != FULL and preprocess not in SCALING:
        raise VisiontaxError(
            f"{preprocess} decodes images in full size only",
            hint=f"use --decode {FULL}, or --preprocess {', '.join(SCALING[:-1])} or {SCALING[-1]}",
        )
