"""What describes a DNN: every input that an image can be made into, and what is wrong is said."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import encode
from PIL import Image

from pipelines import tasks
from pipelines.errors import VisiontaxError
from pipelines.preprocess import dali_graph
from pipelines.preprocess.ways import preprocessor
from pipelines.tasks.description import parse
from pipelines.tasks.tensors import TYPES, ModelInput

GOOD = """
pipeline = "birds"
batch = 0

[input]
name = "images"
height = 32
width = 48
fit = "stretch"

[[outputs]]
name = "logits"
shape = [1000]
unbatched = true

[[constants]]
name = "threshold"
shape = [2]
values = [0.5]

[answer]
kind = "classification"
"""


def test_a_description_says_what_a_dnn_takes_and_gives() -> None:
    task = tasks.task_of("mine", parse(GOOD, named="task.toml"))
    tensor = np.ones((1, 3, 32, 48), np.float32)
    fed = task.dnn.feed(tensor)
    assert {name: one.shape for name, one in fed.items()} == {
        "threshold": (1, 2),
        "images": (1, 3, 32, 48),
    }
    assert [spec.shape for spec in task.dnn.asked(1)] == [(1000,)]
    logits = np.arange(1000, dtype=np.float32)
    assert task.answer(task.dnn.of_one({"logits": logits}, 0), (9, 9))[0][0] == 999


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('fit = "stretch"', 'fit = "strech"', "strech"),
        ('fit = "stretch"', 'fit = "centre"', "as high as wide"),
        ("height = 32", "height = 0", "height"),
        ("height = 32", "hight = 32", "hight"),
        ("height = 32", "height = 32\nmean = [1, 2]", "mean wants 3 numbers"),
        ("height = 32", "height = 32\ndeviation = [1, 1, 0]", "above 0"),
        ("height = 32", 'height = 32\ntype = "int4"', "type"),
        ('pipeline = "birds"', "", "names a pipeline"),
        ('pipeline = "birds"', 'chain = "faces"', "go together"),
        ('kind = "classification"', "", "has no kind"),
        ("values = [0.5]", "values = [1, 2, 3]", "3 values"),
        ('name = "threshold"', 'name = "images"', "named twice"),
        ('name = "logits"', 'name = "tensor"', "may not be called tensor"),
        ("batch = 0", "batch = 4", "wants batch = 0"),
        ("batch = 0", "batch =", "line 3"),
    ],
)
def test_what_is_wrong_with_a_description_is_said(before: str, after: str, said: str) -> None:
    assert before in GOOD
    with pytest.raises(VisiontaxError, match=r"^mine: ") as caught:
        parse(GOOD.replace(before, after), named="mine")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [('kind = "poses"', "unknown kind"), ('kind = "depth"\nunit = "m"', "unit")],
)
def test_an_answer_that_cannot_be_made_is_refused(answer: str, said: str) -> None:
    read = parse(GOOD.replace('kind = "classification"', answer), named="x")
    with pytest.raises(VisiontaxError, match=said):
        tasks.task_of("mine", read)


KINDS = [
    ModelInput(
        *(24, 40, fit),
        mean=(0.4,) if colour == "GRAY" else (0.1, 0.2, 0.3),
        deviation=(0.5,) if colour == "GRAY" else (0.5, 0.6, 0.7),
        range=white,
        colour=colour,
        layout=layout,
        type=type_,
    )
    for fit, white, colour, layout, type_ in itertools.product(
        ("stretch", "letterbox"),
        (1.0, 255.0),
        ("RGB", "BGR", "GRAY"),
        ("NCHW", "NHWC"),
        ("fp32", "fp16", "uint8"),
    )
    if white == 1.0 or type_ == "fp16"
]


def expected(pixels: Any, wanted: ModelInput) -> Any:
    """The tensor, written down without any care for how long it takes."""
    seen = pixels.astype(np.float64)
    if wanted.colour == "GRAY":
        seen = np.rint(seen @ np.array([0.299, 0.587, 0.114]))[..., None]
    if wanted.colour == "BGR":
        seen = seen[..., [2, 1, 0]]
    if wanted.type != "uint8":
        seen = (seen / 255 * wanted.range - wanted.mean) / wanted.deviation
    whole = np.zeros((wanted.height, wanted.width, seen.shape[2]))
    whole[: seen.shape[0], : seen.shape[1]] = seen
    return whole.transpose(2, 0, 1) if wanted.layout == "NCHW" else whole


@pytest.mark.parametrize("wanted", KINDS, ids=lambda wanted: f"{wanted.colour}-{wanted.layout}")
def test_an_input_is_made_as_it_is_described_in_every_way(wanted: ModelInput) -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:] = (200, 90, 30)
    picture = encode(Image.fromarray(pixels))
    place = wanted.place(40, 20)
    seen = preprocessor("opencv", wanted).decoded(picture)[: place.to_height, : place.to_width]
    wide = np.broadcast_to(seen[0, 0], (place.to_height, place.to_width, 3))
    step = 2 if wanted.type == "uint8" else 2 / 255 * wanted.range / 0.5
    for way in ("opencv", "pillow", "dali"):
        tensor = preprocessor(way, wanted)(picture).tensor
        assert (tensor.shape, tensor.dtype) == (wanted.shape, TYPES[wanted.type])
        np.testing.assert_allclose(
            tensor.astype(float), expected(wide, wanted), atol=step, err_msg=way
        )


def test_a_graph_of_dali_gives_the_constants_too(tmp_path: Path) -> None:
    dnn = tasks.dnn_of("mine", parse(GOOD, named="x"))
    dali_graph.serialize(tmp_path / "graph", dnn)
    graph = dali_graph.load(tmp_path / "graph", batch_size=2, threads=1)
    picture = encode(Image.new("RGB", (8, 8)))
    for tensor, size, constant in dali_graph.run(graph, [picture, picture]):
        assert tensor.shape == (3, 32, 48)
        assert size.tolist() == [8, 8]
        assert constant.tolist() == [0.5, 0.5]
