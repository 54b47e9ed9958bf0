"""The DNNs that we turn or edit still compute what they did, and see what photographs show."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from networks import DNNS, DOWNLOADS, photograph, run, run_one, tensor_of
from onnx import helper
from PIL import Image, ImageDraw, ImageFont

from bench.prepare import models
from bench.prepare.dnns import depth, shipped, tflite_onnx
from bench.prepare.dnns.onnx_graph import INPUT, Graph
from bench.prepare.pins import read_members
from pipelines import tasks
from pipelines.errors import SourceError, VisiontaxError
from pipelines.tasks.tensors import IMAGENET_DEVIATION, IMAGENET_MEAN, ModelInput

# What LiteRT makes of MobileFaceNet.tflite and a ramp from -1 to 1, upright and upside down.
RAMP = (0.041246, 0.577047, 0.390710, -0.133007, -1.378313, 0.236637)
TURNED = (-0.162873, 0.757995, 0.264069, -0.554673, -1.788041, 2.241782)


def source(name: str) -> bytes:
    return read_members([name], downloads=DOWNLOADS)[name]


def built(name: str) -> bytes:
    recipe = models.RECIPES[name]
    return recipe.files["model.onnx"](source(recipe.source), DNNS[name])


def test_a_tensorflow_lite_network_answers_as_in_tensorflow_lite() -> None:
    ramp = np.linspace(-1, 1, 112 * 112 * 3, dtype=np.float32).reshape(1, 112, 112, 3)
    batch = np.concatenate([ramp, ramp[:, ::-1]]).transpose(0, 3, 1, 2)
    embeddings = run(built("mobilefacenet"), DNNS["mobilefacenet"], batch)["embedding"]
    np.testing.assert_allclose(embeddings[:, :6], [RAMP, TURNED], atol=1e-4)


def test_the_mask_shows_the_astronaut() -> None:
    dnn = DNNS["selfie_segmentation"]
    mask = run_one(built(dnn.model), dnn, photograph("astronaut"))["mask"][0]
    assert ((mask >= 0) & (mask <= 1)).all()
    # MediaPipe's own runtime says 0.5454.
    assert (mask > 0.5).mean() == pytest.approx(0.545, abs=0.01)
    assert mask[50:60, 105:120].min() > 0.99, "the face is no person"
    assert mask[:20, :20].mean() < 0.01, "the background is a person"


def test_centerface_answers_as_it_was_shipped() -> None:
    original, dnn = source("centerface"), DNNS["centerface"]
    random = np.random.default_rng(3).uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)
    outputs = tuple(replace(each, shape=(each.shape[0], 8, 8)) for each in dnn.outputs)
    small = replace(dnn, input=ModelInput(32, 32, "stretch"), outputs=outputs)
    ours = run(shipped.build_face_detector(original, small), small, random)
    theirs = onnxruntime.InferenceSession(original).run(None, {"input.1": random})
    for output, expected in zip(ours.values(), theirs, strict=True):
        np.testing.assert_allclose(output, expected, atol=1e-4)


def test_faces_are_found_and_told_apart() -> None:
    chain = tasks.chain("faces")
    detector, embedder = built("centerface"), built("mobilefacenet")

    def embed(image: Image.Image) -> npt.NDArray[np.float32]:
        (face,) = chain.first.answer(run_one(detector, chain.first.dnn, image), image.size)
        crop = chain.second.input.normalize(chain.cut(np.asarray(image), face))
        outputs = run(embedder, chain.second, crop[None])
        return chain.value(chain.read({name: each[0] for name, each in outputs.items()}))

    astronaut, hopper = photograph("astronaut"), photograph("grace_hopper")
    same = embed(astronaut), embed(astronaut.resize((300, 300))), embed(astronaut.rotate(8))
    other = embed(hopper)
    assert min(same[0] @ same[1], same[0] @ same[2], same[1] @ same[2]) > 0.8
    assert max(float(one @ other) for one in same) < 0.4


def page(*lines: str) -> Image.Image:
    """Yellow lines on blue: with the channels swapped the contrast would be another."""
    image = Image.new("RGB", (480, 480), (30, 60, 160))
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        font = ImageFont.load_default(30)
        draw.text((20, 20 + 90 * index), line, fill=(250, 220, 40), font=font)
    return image


def test_lines_are_detected_as_by_the_shipped_network_on_bgr() -> None:
    original, dnn = source("ppocr_det"), DNNS["ppocr_det"]
    image = page("a first line", "2. the second", "THIRD")
    ours = run_one(shipped.build_detector(original, dnn), dnn, image)["probability"]
    session = onnxruntime.InferenceSession(original)
    model_input = ModelInput(480, 480, "stretch", IMAGENET_MEAN, IMAGENET_DEVIATION)
    swapped = Image.merge("RGB", image.split()[::-1])
    theirs, mistaken = (
        session.run(None, {"x": tensor_of(seen, model_input)})[0][0] for seen in (swapped, image)
    )
    assert (theirs > 0.3).sum() > 2000
    assert np.abs(ours - theirs).mean() < 1e-4
    assert np.abs(ours - mistaken).mean() > 1e-3, "the order of the channels makes no difference"


def test_a_line_is_read_as_by_the_shipped_network_on_bgr() -> None:
    original, dnn = source("ppocr_rec"), DNNS["ppocr_rec"]
    image = page("Tax: 56 %").crop((10, 15, 330, 63))
    ours = run_one(shipped.build_reader(original, dnn), dnn, image)
    swapped = Image.merge("RGB", image.split()[::-1])
    (probabilities,) = onnxruntime.InferenceSession(original).run(
        None, {"x": tensor_of(swapped, dnn.input)}
    )
    np.testing.assert_array_equal(ours["symbols"], probabilities[0].argmax(axis=1))
    np.testing.assert_allclose(ours["confidences"], probabilities[0].max(axis=1), atol=1e-4)
    characters = shipped.list_characters(original, dnn).decode().splitlines()
    read = ours["symbols"]
    kept = [s for s, before in zip(read, [0, *read[:-1]], strict=True) if s not in (0, before)]
    assert "".join(characters[symbol - 1] for symbol in kept) == "Tax: 56 %"


def test_as_many_characters_as_classes() -> None:
    model = onnx.load_from_string(source("ppocr_rec"))
    model.metadata_props[0].value = model.metadata_props[0].value[:-2]
    with pytest.raises(SourceError, match="6625 classes apart, but names 6623 characters"):
        shipped.list_characters(model.SerializeToString(), DNNS["ppocr_rec"])


def test_the_untrained_decoder_is_alive_on_a_photograph() -> None:
    dnn = DNNS["depth_untrained"]
    model = onnx.load_from_string(built(dnn.model))
    names = [node.output[0] for node in model.graph.node]
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    made = session.run(names, {INPUT: tensor_of(photograph("coffee"), dnn.input)})
    outputs = dict(zip(names, made, strict=True))
    smallest = np.finfo(np.float32).tiny
    for name, output in outputs.items():
        denormal = (output != 0) & (np.abs(output) < smallest)
        assert not denormal.any(), f"{name} is slow on a CPU"
    assert outputs["depth"].std() > 0.1
    assert 0.1 < np.abs(outputs["depth"]).mean() < 10


def test_a_dead_decoder_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth._Decoder, "relu", lambda self, x: dead(self._graph, x))
    with pytest.raises(VisiontaxError, match=r"depth_untrained answers with .* everywhere") as e:
        built("depth_untrained")
    assert "_SEED" in e.value.hint


def dead(graph: Graph, x: str) -> str:
    nothing = graph.constant(f"{x}.nothing", np.float32(0))
    return graph.node("Mul", [x, nothing], f"{x}.dead")


def test_what_cannot_be_turned_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(tflite_onnx._ELEMENTWISE, "ABS")
    with pytest.raises(SourceError, match="cannot turn ABS into ONNX") as raised:
        built("mobilefacenet")
    assert "bench/prepare/pins.toml" in raised.value.hint


@pytest.mark.parametrize("data", [b"", b"no network at all"])
def test_only_tensorflow_lite_is_turned(data: bytes) -> None:
    with pytest.raises(SourceError, match="no TensorFlow Lite file"):
        tflite_onnx.build(data, DNNS["mobilefacenet"])


def test_padding_is_as_tensorflow_pads() -> None:
    assert tflite_onnx._same_pads([112, 112], [3, 3], stride=2) == [0, 0, 1, 1]
    assert tflite_onnx._same_pads([7, 8], [3, 5], stride=1) == [1, 2, 1, 2]
    assert tflite_onnx._same_pads([4, 4], [1, 1], stride=2) == [0, 0, 0, 0]


def test_a_sealed_model_makes_what_its_task_says() -> None:
    graph, dnn = Graph(), DNNS["depth_untrained"]
    graph.node("Relu", [INPUT], dnn.outputs[0].name)  # three channels, where one is stated
    with pytest.raises(onnx.shape_inference.InferenceError):
        graph.seal(dnn)
