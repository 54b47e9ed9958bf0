"""A cause that was planted is named, first, and none that was not; what is to be typed is valid."""

import itertools
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from causes import CHAIN, PLANTED, run, served
from injection import LateProxy, late_server
from processes import TIMEOUT_S
from runs import enough

from bench.commands import sides
from bench.commands.cli import bench
from bench.ledger.causes.findings import CODES, FREE, LARGE, MOST, findings
from bench.ledger.reading import summary_of
from bench.ledger.summary import Summary
from bench.prepare.images.sets import build_images
from bench.record.scenario import Settings
from bench.runs.run import Plan, execute
from pipelines.servers import triton as embedded
from pipelines.spans import STAGES
from pipelines.topologies.names import PLACES

CLEAN = run()


def codes(summary: Summary) -> list[str]:
    return [one.code for one in findings(summary)]


def changed(code: str, **changes: object) -> list[str]:
    return codes(msgspec.structs.replace(PLANTED[code], **changes))


def test_every_cause_is_planted() -> None:
    assert set(PLANTED) == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_the_planted_cause_is_named_and_no_other(code: str) -> None:
    assert codes(PLANTED[code]) == [code]


def test_where_nothing_was_planted_nothing_is_named() -> None:
    assert codes(CLEAN) == []


@pytest.mark.parametrize("code", CODES)
def test_evidence_has_the_numbers_and_the_share(code: str) -> None:
    (found,) = findings(PLANTED[code])
    assert LARGE <= found.share < 1
    assert found.evidence["latency_ms"] == pytest.approx(PLANTED[code].latency_ms.mean)
    taken = [name for name in found.evidence if name.removesuffix("_ms") in STAGES]
    assert taken
    assert all(found.evidence[name] > 0 for name in taken)


def test_what_explains_most_comes_first_and_three_are_enough() -> None:
    found = findings(run({"postprocess": 300.0, "decode": 310.0, "send": 320.0}))
    assert [one.code for one in found] == ["TRANSPORT", "PREPROCESSING", "POSTPROCESSING"]
    assert len(found) == MOST


@pytest.mark.parametrize(
    "stage", [name for name in STAGES if name not in ("inference", "schedule")]
)
def test_a_small_share_is_no_cause(stage: str) -> None:
    assert codes(run(dict.fromkeys(STAGES, 0.5) | {"inference": 12.0, stage: 4.0})) == []


def test_one_user_waits_for_nobody() -> None:
    assert changed("QUEUE", users=1) == changed("IDLE_CORES", users=1) == []
    assert changed("CLIENT", users=1) == ["TRANSPORT"]
    assert codes(run({"queue": 20.0}, **CHAIN | {"users": 1, "topology": "direct"})) == ["QUEUE"]


@pytest.mark.parametrize(
    "changes",
    [
        {"busy_cores": 8.0},  # of which the server has half: others need them
        {"served": served(instances=8)},
        {"served": served(instances=1, gpu=True)},
        {"throughput_per_s": 20.0},  # the one instance has nothing to do
        {"server_cpu_share": None},  # on another host
        {"served": {}},  # an older run
        {"cores": None},
    ],
)
def test_cores_are_idle_only_where_more_instances_would_use_them(
    changes: dict[str, object],
) -> None:
    assert changed("IDLE_CORES", **changes) == ["QUEUE"]


@pytest.mark.parametrize(
    "changes",
    [
        {"server_cpu_share": 3.0},
        {"served": served(threads=1)},
        {"served": served(instances=1, threads=0)},
        {"served": served(threads=8, gpu=True)},
        {"users": 1},
        {"served": {}},
        {"cores": None},
    ],
)
def test_threads_are_too_many_only_where_they_compute_at_once(changes: dict[str, object]) -> None:
    assert "OVERSUBSCRIBED" not in changed("OVERSUBSCRIBED", **changes)


def test_no_number_of_threads_means_all_cores() -> None:
    assert changed("OVERSUBSCRIBED", served=served(threads=0)) == ["OVERSUBSCRIBED"]


def test_what_cannot_be_trusted_has_no_cause_but_a_late_generator() -> None:
    for code in CODES:
        assert changed(code, valid=False) == []
    late = run({"schedule": 4.0}, valid=False)
    assert codes(late) == ["CLIENT"]


def test_a_run_without_requests_has_no_cause() -> None:
    assert changed("QUEUE", stages={}, latency_ms=None) == []


def check(words: list[str]) -> None:
    """Read the command as its user's shell would have it read; nothing is run."""
    program, name, *arguments = words
    assert program == "bench"
    command = bench.get_command(click.Context(bench), name)
    assert command is not None
    if isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.get_command(click.Context(command), name)
        assert command is not None
    context = command.make_context(name, arguments)
    if name == "ab":
        common = {option.name: context.params[option.name] for option in sides.COMMON}
        for side in ("a", "b"):
            text, pipeline = context.params[side], context.params["pipeline"]
            sides.read(side, text, pipeline=pipeline, common=common)
        assert context.params["a"] != context.params["b"]


@pytest.mark.parametrize("code", CODES)
def test_the_command_to_type_next_is_valid(code: str) -> None:
    planted = PLANTED[code]
    chain = {**CHAIN, "batch": 4, "broker_share": planted.broker_share}
    direct = {"pipeline": "text", "topology": "direct", "broker_share": None}
    for preprocess, place, transport, device, images, topology in itertools.product(
        ("pillow", "opencv", "dali"),
        PLACES,
        ("http", "grpc", "shm", "fake"),
        ("cpu", "gpu:0"),
        ("small", "large", "my photos"),
        ({}, chain, direct, direct | {"topology": "fused"}),
    ):
        if place == "server-gpu" and preprocess != "dali":
            continue
        if topology.get("topology") == "fused" and place != "server":
            continue
        settings = {"preprocess": preprocess, "place": place, "transport": transport}
        settings |= {"device": device, "images": images} | topology
        for one in findings(msgspec.structs.replace(planted, **settings)):
            check(one.command)


@pytest.mark.parametrize("code", [code for code in CODES if code != "BROKER"])
@pytest.mark.parametrize("images", ["small", "large"])
@pytest.mark.parametrize("preprocess", ["pillow", "opencv", "dali"])
def test_another_server_is_asked_for_no_more_than_it_can_do(code, images, preprocess) -> None:
    planted = PLANTED[code]
    if planted.place != "server":
        planted = msgspec.structs.replace(planted, place="server")
    settings = {"served_by": "litserve", "images": images, "preprocess": preprocess}
    found = findings(msgspec.structs.replace(planted, **settings))
    assert found
    for one in found:
        check(one.command)
        assert "litserve" in " ".join(one.command)
        assert "transport" not in " ".join(one.command)
    assert codes(msgspec.structs.replace(planted, **settings)) == codes(planted)


def measured(folder: Path, *, count: int, for_s: float = 0.0, **settings: Any) -> Summary:
    """What a real run comes to of which so many requests count."""
    asked = Settings(**settings, warmup_s=0.0)
    planned = Plan(asked, duration_s=TIMEOUT_S, results=folder / "results")
    return summary_of(execute(planned, enough=enough(count, for_s=for_s)))


def test_large_images_are_found_in_a_real_run(tmp_path: Path) -> None:
    (images,) = build_images(tmp_path, count=1, sets=["large"])
    fake = {"transport": "fake", "place": "client", "service_s": 0.001}
    made = measured(tmp_path, count=10, images=str(images), **fake)
    (found,) = findings(made)
    assert (found.code, found.evidence["step"]) == ("PREPROCESSING", "decode")
    assert found.evidence["images"] == "{}x{}".format(*made.image_px)


@pytest.mark.alone  # where others keep the cores, the generator is not what is full
def test_a_generator_with_too_many_users_is_found_in_a_real_run(tmp_path: Path) -> None:
    (images,) = build_images(tmp_path, count=1, sets=["small"])
    fake = {"transport": "fake", "service_s": 0.0, "users": 32}
    made = measured(tmp_path, count=100, for_s=1.5, images=str(images), **fake)
    assert codes(made) == ["CLIENT"]


@pytest.mark.triton
@pytest.mark.usefixtures("triton_parts")
def test_too_few_instances_are_found_in_a_real_run(tmp_path: Path) -> None:
    with late_server(tmp_path) as late:
        late.wait_ready()
        made = measured(tmp_path, count=30, for_s=3.0, server=late.url, users=6)
        late.process.kill()
    assert {one.instances for one in made.served.values()} == {1}
    idle = 1 - made.busy_cores / made.cores  # others may use the machine as well
    assert codes(made)[0] == ("IDLE_CORES" if idle >= FREE else "QUEUE")
    assert not {"TRANSPORT", "CLIENT", "OVERSUBSCRIBED", "BROKER"} & set(codes(made))


class _Far(LateProxy):
    """A long way to the server, for every request."""

    def hold(self, data: bytes) -> None:
        for _ in range(6):  # of which half are late
            super().hold(data)


def test_a_long_way_is_found_in_a_real_run(triton: embedded.Server, tmp_path: Path) -> None:
    with _Far(triton.port) as proxy:
        made = measured(tmp_path, count=10, server=proxy.url)
        proxy.shutdown()
    assert codes(made)[0] == "TRANSPORT"
    assert not {"QUEUE", "IDLE_CORES", "CLIENT"} & set(codes(made))
