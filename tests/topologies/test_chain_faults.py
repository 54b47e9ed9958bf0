"""What becomes of requests when workers are killed, brokers restart, and messages are broken."""

import contextlib
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from brokers import SERVICE_OF, Services
from chains import (
    COLOURS,
    GO_ON,
    NEVER,
    NO_ANSWER,
    RED,
    SLOW,
    STUCK,
    asking,
    changed,
    number_of,
    picture,
    says,
    tiny_crop,
    worker,
)
from pictures import BAD, GOOD
from processes import TIMEOUT_S, bench, until, wait_gone
from runs import measured

from bench.record.scenario import Settings
from bench.runs.run import execute
from pipelines import processes
from pipelines.brokers import Broker, broker
from pipelines.errors import BrokerError, EngineError
from pipelines.servers import control, triton
from pipelines.servers.redis import start_redis
from pipelines.spans import Request, Trail
from pipelines.tasks.tensors import ModelInput
from pipelines.topologies import choose
from pipelines.topologies.brokered import client, messages
from pipelines.topologies.brokered.client import Collector
from pipelines.topologies.brokered.gathering import Arrived, Pending
from pipelines.topologies.brokered.packing import Packing
from pipelines.topologies.brokered.stages import IN_FLIGHT, Valve

CROPS = messages.crops_topic("faces")
Content = bytes | tuple[str, bytes]


@pytest.fixture
def settings(triton: triton.Server, running: Services, request: pytest.FixtureRequest) -> Settings:
    """Faces by the topology that the test is marked with, or over Redis streams."""
    topology = getattr(request, "param", "redis-streams")
    made = Settings(
        pipeline="faces",
        server=triton.url,
        topology=topology,
        broker=running.url(SERVICE_OF[topology]),
    )
    control.load(triton.url, choose.models(made))
    return made


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients here wait for workers that are only being started, however long that takes."""
    monkeypatch.setattr(client, "TIMEOUT_S", TIMEOUT_S)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("settings", ["redis-streams", "kafka-tuned"], indirect=True)
def test_what_a_killed_worker_held_is_taken_over(settings: Settings, tmp_path: Path) -> None:
    image, _ = picture("faces-5")
    with asking(changed(settings, topology="direct")) as ask:
        expected = ask(image, request_id="expected").answer
    stuck, logs = changed(settings, transport=NO_ANSWER), {}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        ask = stack.enter_context(asking(settings))
        doomed = {}
        for stage in messages.STAGES:
            logs[stage] = tmp_path / f"doomed-{stage}"
            doomed[stage] = stack.enter_context(worker(stuck, stage, log=logs[stage]))
        answering = pool.submit(ask, image, request_id="asked")
        for stage, victim in doomed.items():
            says(logs[stage], STUCK)  # in the middle of what it took
            log = tmp_path / f"other-{stage}"
            stack.enter_context(worker(settings, stage, log=log))
            says(log, "ready")
            victim.kill()
        answer = answering.result(TIMEOUT_S).answer
    assert np.array_equal(answer.regions, expected.regions)
    assert np.allclose(answer.values, expected.values, atol=1e-5)


class Counting(Pending):
    """Also counts how often each crop was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.times = Counter[int]()

    def add(self, arrived: Arrived) -> None:
        """Count, then gather."""
        if isinstance(arrived.reply, messages.SecondReply):
            self.times.update(reading.index for reading in arrived.reply.readings)
        super().add(arrived)


@contextlib.contextmanager
def first_stage(settings: Settings) -> Iterator[tuple[Broker, Collector]]:
    """What a first stage and a client need, to play both."""
    kind, url = str(settings.topology), str(settings.broker)
    with closing(broker(kind, url)) as link, closing(Collector(kind, url)) as collector:
        yield link, collector


def put(link: Broker, collector: Collector, requests: dict[str, list[Content]]) -> None:
    """Put regions and crops of the requests, all together; a crop's content is raw if it is bytes,
    else its form and itself."""
    sent, back = messages.sent_now(time.monotonic_ns()), collector.topic
    found, crops = [], []
    for request, contents in requests.items():
        regions = np.zeros((len(contents), 15), np.float32)
        found.append(messages.FirstReply(request, regions.shape, regions.tobytes(), Trail(), sent))
        for index, content in enumerate(contents):
            form, data = ("raw", content) if isinstance(content, bytes) else content
            crops.append(messages.Crop(request, back, index, form, data, sent))
    link.put(back, [messages.encode(each) for each in found])
    link.put(CROPS, [messages.encode(each) for each in crops])


@pytest.mark.parametrize("settings", ["redis-streams", "kafka-tuned"], indirect=True)
def test_of_thousands_of_crops_none_is_lost_or_counted_twice(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "Pending", Counting)
    monkeypatch.setenv(GO_ON, str(tmp_path / "go on"))
    settings = changed(settings, transport=COLOURS, server=NEVER, batch=16)
    crops = {str(request): list(range(10 * request, 10 * request + 10)) for request in range(300)}
    pending: dict[str, Pending] = {}
    logs = [tmp_path / name for name in ("doomed", "other")]
    with (
        worker(changed(settings, server="5,10"), "second", log=logs[0]) as doomed,
        worker(settings, "second", log=logs[1]),
        first_stage(settings) as (link, collector),
    ):
        for log in logs:
            says(log, "ready")
        gate = Valve(link, CROPS, limit=400)
        for first in range(0, 300, 10):
            some = [str(request) for request in range(first, first + 10)]
            pending |= {request: collector.expect(request) for request in some}
            gate.wait(100)
            put(link, collector, {each: list(map(tiny_crop, crops[each])) for each in some})
            if first == 150:
                says(logs[0], SLOW)
                for one in pending.values():  # the other has taken over what it holds
                    assert one.done.wait(TIMEOUT_S)
                (tmp_path / "go on").touch()
        says(logs[0], STUCK)
        doomed.kill()
        for request, expected in crops.items():
            gathered = pending[request]
            assert gathered.done.wait(TIMEOUT_S)
            assert gathered.error is None
            answers = [gathered.answers[index][2].answer for index in range(10)]
            assert [number_of(answer) for answer in answers] == expected
        until(lambda: link.depth(CROPS) == 0, "all are acknowledged")
    times = [count for each in pending.values() for count in each.times.values()]
    assert len(times) == 3_000
    assert max(times) > 1  # what it was slow with


def test_what_is_broken_fails_its_own_request_and_no_other(
    settings: Settings, tmp_path: Path
) -> None:
    requests: dict[str, list[Content]] = {
        "good": [tiny_crop(1), tiny_crop(2)],
        "one byte short": [tiny_crop(3), b"12"],
        "broken JPEG": [("jpeg", BAD["cut in half"][0])],
        "empty JPEG": [("jpeg", b"")],
        "another size": [("jpeg", GOOD)],
        "lost": [("reference", b"claim:lost:1")],
        "no key": [("reference", b"\xff\xfe")],
        "refused": [RED, tiny_crop(4)],
        "good too": [tiny_crop(5)],
    }
    words = {
        "one byte short": "crop 1: the crop has 2 bytes",
        "broken JPEG": "crop 0: the JPEG is truncated",
        "empty JPEG": "crop 0: the image is empty",
        "another size": "crop 0: the crop is no JPEG of 1x1 pixels",
        "lost": "crop 0: the crop is gone",
        "no key": "crop 0: the crop is gone",
        "refused": "crop 0: I do not like red",
    }
    log = tmp_path / "second"
    settings = changed(settings, transport=COLOURS, server=NEVER, claims=settings.broker, batch=16)
    with first_stage(settings) as (link, collector):
        pending = {name: collector.expect(name) for name in requests}
        link.put(CROPS, [b"what is that?"])
        put(link, collector, requests)  # before there is a worker: it will take all at once
        with worker(settings, "second", log=log):
            for name, each in pending.items():
                assert each.done.wait(TIMEOUT_S), name
                assert words.get(name, "None") in str(each.error)
        assert [number_of(pending["good"].answers[index][2].answer) for index in (0, 1)] == [1, 2]
    assert "dropped a message of 13 bytes" in log.read_text()


def test_crops_in_a_redis_that_is_away_fail_and_others_do_not() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        packing = Packing(Settings(claims=f"127.0.0.1:{unused.getsockname()[1]}"))
        sent = messages.sent_now(0)
        crops = [
            messages.Crop("r", "back", index, form, b"123", sent)
            for index, form in enumerate(("raw", "reference"))
        ]
        pixels, error = packing.unpack(crops, ModelInput(1, 1, "stretch"))
        packing.drop(crops)  # nothing to be done
        packing.close()
    assert np.array_equal(pixels, [[[49, 50, 51]]])
    assert isinstance(error, BrokerError)


@pytest.mark.usefixtures("patient")
def test_a_broken_image_fails_its_own_request_and_no_other(
    settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "first"
    images = (picture("faces-0")[0], BAD["cut in half"][0], picture("faces-1")[0])
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(closing(broker(str(settings.topology), str(settings.broker))))
        link.put(messages.images_topic("faces"), [b"what is that?"])
        stack.enter_context(worker(settings, "first", log=log))
        stack.enter_context(worker(settings, "second", log=tmp_path / "second"))
        users = [stack.enter_context(asking(settings)) for _ in images]
        with ThreadPoolExecutor(len(users)) as pool:
            first, broken, second = (
                pool.submit(ask, image, request_id=f"r{number}")
                for number, (ask, image) in enumerate(zip(users, images, strict=True))
            )
            assert first.result().answer.values == []
            assert len(second.result().answer.values) == 1
            with pytest.raises(EngineError, match="the JPEG is truncated"):
                broken.result()
    assert "dropped a message of 13 bytes" in log.read_text()


def test_a_worker_that_is_there_before_its_broker_waits_and_says_so(tmp_path: Path) -> None:
    port, log = processes.free_port(), tmp_path / "second"
    settings = Settings(
        pipeline="faces",
        transport=COLOURS,
        server=NEVER,
        topology="redis-streams",
        broker=f"127.0.0.1:{port}",
    )
    with worker(settings, "second", log=log):
        says(log, f"waiting for the broker: Redis at 127.0.0.1:{port} does not answer")
        with start_redis(tmp_path / "redis", port) as redis:
            redis.wait_ready()
            says(log, "ready")
            with first_stage(settings) as (link, collector):
                pending = collector.expect("r")
                put(link, collector, {"r": [tiny_crop(1)]})
                assert pending.done.wait(TIMEOUT_S)
                assert pending.error is None
                assert log.read_text().count("\n") == 2  # it says each once


@pytest.mark.usefixtures("patient")
def test_a_first_stage_holds_back_while_the_second_stands_still(
    settings: Settings, tmp_path: Path
) -> None:
    image, _ = picture("faces-12")
    with contextlib.ExitStack() as stack:
        stack.enter_context(worker(settings, "first", log=tmp_path / "first"))
        second = stack.enter_context(worker(settings, "second", log=tmp_path / "second"))
        for stage in messages.STAGES:
            says(tmp_path / stage, "ready")
        second.send_signal(signal.SIGSTOP)
        users = [stack.enter_context(asking(settings)) for _ in range(12)]
        link = stack.enter_context(closing(broker(str(settings.topology), str(settings.broker))))
        with ThreadPoolExecutor(len(users)) as pool:
            answering = [pool.submit(ask, image, request_id=f"r{i}") for i, ask in enumerate(users)]
            until(lambda: link.depth(CROPS) > IN_FLIGHT - 12, "it is full")
            depths = []
            for _ in range(100):
                depths.append(link.depth(CROPS))
                time.sleep(0.01)
            second.send_signal(signal.SIGCONT)
            while not all(each.done() for each in answering):
                depths.append(link.depth(CROPS))
                time.sleep(0.01)
            outcomes = [each.result() for each in answering]
    assert max(depths) <= IN_FLIGHT
    assert all(len(outcome.answer.answers) == 12 for outcome in outcomes)
    # What waited was taken in batches of 8, so crops of different requests shared some.
    askers = [{call.id.split("/")[0] for call in outcome.calls} for outcome in outcomes]
    assert max(map(len, askers)) > 1
    assert max(call.items for outcome in outcomes for call in outcome.calls) == settings.batch


def test_a_run_survives_a_redis_that_restarts_and_says_how_many_requests_failed(
    settings: Settings, running: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends once some requests have been answered that began a second after Redis was back."""
    folder, ours = tmp_path / "results", psutil.Process()
    before, members = ours.children(recursive=True), list[psutil.Process]()
    back_ns = 0

    def later(run: Path) -> list[Request]:
        return [one for one in measured(run) if one.start_ns > back_ns + 1e9]

    def is_enough(run: Path) -> bool:
        nonlocal back_ns
        if not back_ns and measured(run):
            members.extend(set(ours.children(recursive=True)) - set(before))
            running.kill("redis")
            time.sleep(0.3)
            running.revive("redis")
            back_ns = time.monotonic_ns()
        return back_ns > 0 and sum(one.error is None for one in later(run)) >= 10

    def until_enough(*plan: Any, **how: Any) -> Path:
        return execute(*plan, **how, enough=is_enough)

    monkeypatch.setattr("bench.runs.run.execute", until_enough)
    load = (
        *("--topology", settings.topology, "--broker-url", settings.broker, "--users", 2),
        *("--server", settings.server, "--warmup", "0.5s", "--duration", "3m"),
    )
    done = bench("run", "faces", *load, "--results", folder)
    said = done.stdout + done.stderr
    assert done.returncode == 4, said
    assert len(members) > 2
    wait_gone(members)
    (run,) = folder.iterdir()
    requests = measured(run)
    errors = [request.error for request in requests if request.error is not None]
    assert errors
    assert all(
        error.startswith(f"Redis at {settings.broker} does not answer: ") for error in errors
    )
    assert [request for request in later(run) if request.error is not None] == []
    assert "INVALID" in said
    assert re.search(r"[1-9]\d* of [1-9]\d* requests failed", said)
    assert "Traceback" not in said


@pytest.mark.parametrize("settings", ["kafka-tuned"], indirect=True)
def test_while_kafka_restarts_requests_fail_and_then_work_again(
    settings: Settings, running: Services, tmp_path: Path
) -> None:
    image, _ = picture("faces-1")
    with (
        worker(settings, "first", log=tmp_path / "first"),
        worker(settings, "second", log=tmp_path / "second"),
        asking(settings) as ask,
    ):
        for stage in messages.STAGES:
            says(tmp_path / stage, "ready")
        assert len(ask(image, request_id="before").answer.answers) == 1
        running.kill("kafka")
        with pytest.raises(BrokerError, match=f"Kafka at {settings.broker}: "):
            ask(image, request_id="without")
        running.revive("kafka")

        def answered() -> bool:
            with contextlib.suppress(BrokerError):
                return len(ask(image, request_id="after").answer.answers) == 1
            return False

        until(answered, "requests work again")
        assert answered()
