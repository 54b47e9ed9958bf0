"""Several pipelines in one run, by weight: what each is asked, and what comes of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from processes import TIMEOUT_S, bench, refused
from runs import answered, enough
from summaries import summary

from bench.generator.schedules.pictures import scheduled
from bench.ledger.causes.next_command import run, serve
from bench.ledger.reading import read
from bench.ledger.summary import Summary
from bench.prepare.images.sets import asked_with, specs_of
from bench.record import records
from bench.record.manifest import read_manifest
from bench.record.scenario import EACH, parts, settings_of
from bench.runs.run import Plan, execute
from pipelines.errors import VisiontaxError
from pipelines.servers import triton

WITH_CHAIN = "classification:3,faces:1"


def accounted_for(folder: Path, names: Sequence[str]) -> Summary:
    """What the run comes to, whose groups are of these pipelines and together the whole."""
    reading = read(folder)
    told, times = reading.summary(), reading.ledger.time_ns
    assert np.array_equal(times.sum(axis=1), reading.ledger.latency_ns)
    groups = [group for group in told.mix if group.by == "pipeline"]
    assert [group.name for group in groups] == sorted(names)
    assert told.errors == 0
    assert told.latency_ms
    for each, whole in (
        ([one.requests for one in groups], told.requests - told.dropped),
        (
            [one.requests * (one.mean_ms or 0) for one in groups],
            told.requests * told.latency_ms.mean,
        ),
    ):
        assert sum(each) == pytest.approx(whole)
    return told


@pytest.mark.parametrize("how", [{"rate": "150/s", "users": 32}, {"users": 2}], ids=str)
def test_requests_are_of_each_by_weight(tmp_path: Path, how: dict[str, object]) -> None:
    fake = {"transport": "fake", "service_s": 0.002, "warmup_s": 0.0, "seed": 3}
    settings = settings_of({"pipeline": WITH_CHAIN} | fake | how)
    folder = execute(Plan(settings, 1.0, results=tmp_path))
    told = accounted_for(folder, ["classification", "faces"])
    requests = answered(folder)
    share = sum(one.pipeline == "faces" for one in requests) / len(requests)
    assert share == pytest.approx(0.25, abs=4.5 * (0.1875 / len(requests)) ** 0.5)
    if settings.open:
        _, draw = scheduled(settings, asked_with(settings))
        due = sorted(records.read_requests(folder), key=lambda one: one.due_ns)
        asked = [(one.pipeline, one.image) for one in due]  # also of those that nobody could send
        assert asked == [draw(number) for number in range(len(asked))]
    assert told.images == EACH
    images = [image.name for image in records.read_images(folder)]
    for one in requests:
        own = "medium/" if one.pipeline == "classification" else "faces-4/"
        assert images[one.image or 0].startswith(own)
    assert "classification-3+faces-1-each-its-own" in folder.name
    assert_shown(folder, Counter(one.pipeline for one in requests if counts(folder, one.due_ns)))


def counts(folder: Path, due_ns: int) -> bool:
    manifest = read_manifest(folder)
    return manifest.window_start_ns <= due_ns < (manifest.window_end_ns or 0)


def assert_shown(folder: Path, requests: Counter[str]) -> None:
    """Every format has them, and a comparison of the run with itself finds none."""
    found = json.loads(bench("report", folder, "--format", "json").stdout)["mix"]
    assert {one["name"]: one["requests"] for one in found if one["by"] == "pipeline"} == requests
    for format in ("text", "md", "html"):
        assert "By pipeline" in bench("report", folder, "--format", format).stdout
    compared = bench("compare", folder, "--with", folder)
    assert "Traceback" not in compared.stderr


def test_triton_serves_both(triton: triton.Server, tmp_path: Path) -> None:
    how = {"users": 3, "warmup_s": 0.5, "server": triton.url}
    settings = settings_of({"pipeline": "classification:0.5,detection:0.5"} | how)
    folder = execute(Plan(settings, TIMEOUT_S, results=tmp_path), enough=enough(40))
    told = accounted_for(folder, ["classification", "detection"])
    assert all(group.non_inference_share for group in told.mix)
    assert all(group.preprocess_ms for group in told.mix)
    manifest = read_manifest(folder)
    assert list(manifest.stages.values()).count("inference") == 2
    assert set(manifest.served) == set(manifest.stages)
    where = {(one.pipeline, span.where) for one in answered(folder) for span in one.spans}
    by = {(name, model) for name, model in where if model.startswith("preprocess_")}
    assert by == {(name, f"preprocess_{name}_opencv") for name in parts(settings)}


def test_each_part_is_what_it_would_be_alone() -> None:
    asked = settings_of({"pipeline": WITH_CHAIN, "rate": "5/s"})
    classification, faces = parts(asked).values()
    assert (classification.pipeline, classification.topology) == ("classification", None)
    assert (faces.pipeline, faces.topology, faces.images) == ("faces", "direct", "faces-4")
    assert classification == settings_of({"pipeline": "classification", "rate": "5/s"})
    assert specs_of([asked]) == ["medium", "faces-4"]
    said = settings_of({"pipeline": WITH_CHAIN, "images": "small:1,large:2", "topology": "fused"})
    assert {part.images for part in parts(said).values()} == {"small:1,large:2"}
    assert parts(said)["faces"].topology == "fused"
    said.check()
    alike = settings_of({"pipeline": "depth:1,detection:1"})
    assert (alike.images, alike.topology) == ("medium", None)
    one = settings_of({"pipeline": "depth"})
    assert parts(one) == {"depth": one}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pipeline": "depth:1,nope:1"}, "unknown pipeline: nope"),
        ({"pipeline": "depth,text"}, "unknown pipeline: depth,text"),
        ({"pipeline": "depth:1,text:0"}, "'text' has no weight above 0"),
        ({"pipeline": "depth:1,text"}, "'text' has no weight above 0"),
        ({"pipeline": "depth:1,depth:2"}, "'depth' comes twice"),
        ({"pipeline": "depth:1,text:1", "topology": "memory"}, "the workers of memory are of one"),
        ({"pipeline": "depth:1,detection:1", "topology": "direct"}, "no pipeline of it has a topo"),
        ({"pipeline": "depth:1,detection:1", "server": "fastapi"}, "fastapi serves one pipeline"),
        ({"pipeline": "depth:1,detection:1", "transport": "plain"}, "web server serves one"),
        ({"pipeline": "depth:1,text:1", "topology": "fused", "place": "client"}, "topology fused"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said(settings: dict[str, object], words: str) -> None:
    with pytest.raises(VisiontaxError) as caught:
        settings_of(settings).check()
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("command", ["run", "curve", "slo", "serve"])
def test_commands_name_what_is_unknown(command: str) -> None:
    words = "unknown pipeline: nope; known: classification"
    refused(command, "depth:1,nope:1", code=2, words=words)


def test_what_to_type_next_can_be_typed() -> None:
    told = summary(pipeline=WITH_CHAIN, images=EACH)
    assert serve(told, "--inference-instances", 2)[:3] == ["bench", "serve", WITH_CHAIN]
    assert EACH not in run(told)
