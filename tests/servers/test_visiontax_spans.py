"""The file that users copy beside their code: whose a span is, and what is told of it to whom."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from processes import PYTHON, ended, started, until

from pipelines.servers import visiontax_spans

SOURCE = Path(visiontax_spans.__file__)
SENDING_S = 0.02


class Asked:
    """A request as Triton's Python backend hands it over."""

    def __init__(self, id: str) -> None:
        self._id = id

    def request_id(self) -> str:
        return self._id


class Web:
    """A request as web servers hand it over."""

    def __init__(self, id: str) -> None:
        self._id = id

    @property
    def headers(self) -> dict[str, str]:
        return {"x-request-id": self._id}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder below which runs make theirs."""
    monkeypatch.setenv(visiontax_spans.FOLDER, str(tmp_path / "spans"))
    return tmp_path / "spans"


@pytest.fixture
def copied(runs: Path) -> Iterator[ModuleType]:
    """A copy of the file, with nothing told yet; its run is over at the end."""
    (runs / "run").mkdir(parents=True)
    spec = importlib.util.spec_from_file_location("copied_spans", SOURCE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    writer = module._told._writer
    runs.rename(runs.parent / "over")
    if writer is not None:
        writer.join(20)
        assert not writer.is_alive()


def told(module: ModuleType, run: Path) -> list[dict[str, Any]]:
    """The spans in a run's folder."""
    module._told.write()
    lines = [
        line for path in sorted(run.glob("spans-*.jsonl")) for line in path.read_text().splitlines()
    ]
    return [json.loads(line) for line in lines]


def whose(module: ModuleType, run: Path) -> list[tuple[str, list[str], list[str]]]:
    return [(each["stage"], each["ids"], each["waiting"]) for each in told(module, run)]


def test_it_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert str(node.module).split(".")[0] in sys.stdlib_module_names
        elif isinstance(node, ast.Import):
            assert {each.name.split(".")[0] for each in node.names} <= sys.stdlib_module_names


def test_without_a_run_nothing_is_kept_and_nothing_looked_for(copied, runs) -> None:
    (runs / "run").rmdir()
    with copied.span("decode", request_id=lambda: 1 / 0):
        pass
    assert not copied._told.runs
    assert not copied._told._waiting
    assert not list(runs.iterdir())


def test_a_run_that_was_killed_is_told_nothing(copied, runs) -> None:
    os.utime(runs / "run", (0, 0))
    with copied.span("decode", request_id="a"):
        pass
    assert told(copied, runs / "run") == []


def test_a_span_has_its_times_and_its_place(copied, runs) -> None:
    before = time.monotonic_ns()
    with copied.span("decode", request_id="a"):
        inside = time.monotonic_ns()
    after = time.monotonic_ns()
    (line,) = told(copied, runs / "run")
    assert before <= line["start_ns"] <= inside <= line["end_ns"] <= after
    assert (line["pid"], line["thread"]) == (os.getpid(), threading.get_native_id())
    assert line["where"]


def test_it_is_told_to_every_run(copied, runs) -> None:
    (runs / "other").mkdir()
    with copied.span("decode", request_id="a"):
        pass
    assert told(copied, runs / "run") == told(copied, runs / "other") != []


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        (Asked("a"), ["a"]),
        ([Asked("a"), Asked("b")], ["a", "b"]),
        ("", []),
        (7, []),
    ],
)
def test_it_can_be_said_whose_it_is(copied, runs, given, ids) -> None:
    with copied.span("decode", request_id=given):
        pass
    assert whose(copied, runs / "run") == [("decode", ids, [])]


class Model:
    """What users write in `execute`, in several ways."""

    def __init__(self, module: ModuleType) -> None:
        self._span = module.span

    def loop(self, requests: list[Asked]) -> None:
        for number, request in enumerate(requests):
            if number >= 0:
                with self._span("decode"):
                    assert request
        with self._span("inference"):
            pass

    def method(self, requests: list[Asked]) -> None:
        _ = [self._one(request) for request in requests]
        with self._span("inference"):
            pass

    def comprehension(self, requests: list[Asked]) -> None:
        _ = [self._unnamed() for request in requests if request]
        self._unnamed("inference")

    def chunks(self, requests: list[Asked]) -> None:
        at = 0
        while at < len(requests):
            chunk = requests[at : at + 2]
            for request in chunk:
                if request is None:
                    continue
                self._unnamed()
            self._unnamed("inference")
            at += 2

    def calling(self, requests: list[Asked]) -> None:
        for request in requests:
            called = Asked(f"{request.request_id()}/called")
            with self._span("decode"):
                assert called
        with self._span("inference"):
            pass

    def _one(self, request: Asked) -> None:
        assert request
        self._unnamed()

    def _unnamed(self, stage: str = "decode") -> None:
        with self._span(stage):
            pass


@pytest.mark.parametrize("way", ["loop", "method", "comprehension", "calling"])
@pytest.mark.parametrize("ids", ["a", "abc"])
def test_the_callers_variables_say_whose_it_is(copied, runs, way, ids) -> None:
    getattr(Model(copied), way)([Asked(id) for id in ids])
    everyone = list(ids)
    assert whose(copied, runs / "run") == [
        *(("decode", [id], [other for other in ids if other != id]) for id in ids),
        ("inference", everyone, []),
    ]


def test_a_part_of_the_batch_is_whose_it_is_where_it_is_worked_on(copied, runs) -> None:
    Model(copied).chunks([Asked(id) for id in "abc"])
    assert whose(copied, runs / "run") == [
        ("decode", ["a"], ["b", "c"]),
        ("decode", ["b"], ["a", "c"]),
        ("inference", ["a", "b"], ["c"]),
        ("decode", ["c"], ["a", "b"]),
        ("inference", ["c"], ["a", "b"]),
    ]


def test_threads_know_their_request_by_its_variable(copied, runs) -> None:
    copied._told.look()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Model(copied)._one, [Asked(str(number)) for number in range(40)]))
    found = whose(copied, runs / "run")
    assert sorted(int(ids[0]) for _, ids, _ in found) == list(range(40))


def test_a_header_says_whose_it_is(copied, runs) -> None:
    def endpoint(asked: Web) -> None:
        assert asked
        with copied.span("decode"):
            pass

    endpoint(Web("a"))
    assert whose(copied, runs / "run") == [("decode", ["a"], [])]


def test_a_variable_that_raises_is_not_noticed(copied, runs) -> None:
    class Sly:
        @property
        def headers(self) -> None:
            raise RuntimeError("do not touch")

    sly = Sly()
    with copied.span("decode"):
        assert sly
    assert whose(copied, runs / "run") == [("decode", [], [])]


def test_an_error_inside_passes_and_is_timed(copied, runs) -> None:
    with pytest.raises(ZeroDivisionError), copied.span("decode", request_id="a"):
        raise ZeroDivisionError
    assert whose(copied, runs / "run") == [("decode", ["a"], [])]


def test_what_was_timed_elsewhere_can_be_told(copied, runs) -> None:
    def method(requests: list[Asked]) -> None:
        assert requests
        copied.tell("input", 7, 9)

    copied.tell("queue", 5, 7, request_id="a")
    method([Asked("b")])
    copied.tell("queue", 5, 7, request_id=7)
    found = told(copied, runs / "run")
    assert [(each["stage"], each["start_ns"], each["end_ns"]) for each in found] == [
        ("queue", 5, 7),
        ("input", 7, 9),
        ("queue", 5, 7),
    ]
    assert [each["ids"] for each in found] == [["a"], ["b"], []]


def test_without_a_run_nothing_is_told(copied, runs) -> None:
    (runs / "run").rmdir()
    copied.tell("queue", 5, 7, request_id=lambda: 1 / 0)
    assert not copied._told._waiting


def completed(made: Coroutine[Any, Any, None]) -> None:
    """Await it in a thread of its own: a browser's driver may have left its loop running here."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, made).result()


def test_tasks_and_threads_keep_their_requests_apart(copied, runs) -> None:
    async def served(id: str) -> None:
        with copied.request(id), copied.request(id):  # the inner one is the same request
            await asyncio.sleep(0.01)
            with copied.span("decode"):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(in_thread)

    def in_thread() -> None:
        with copied.span("inference"):
            pass

    async def main() -> None:
        await asyncio.gather(*(served(id) for id in "abc"))

    completed(main())
    found = whose(copied, runs / "run")
    assert sorted(found) == sorted(
        (stage, [id], []) for id in "abc" for stage in ("decode", "inference", "request")
    )


def asked(app: Any, headers: Iterable[tuple[bytes, bytes]], *, kind: str = "http") -> list[str]:
    """Ask an ASGI app once, with a body in two parts; the types of what it sends."""
    sent: list[str] = []
    parts = [False, True]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(SENDING_S)
        return {"type": "http.request", "body": b"part", "more_body": parts.pop()}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])
        await asyncio.sleep(SENDING_S)

    completed(app({"type": kind, "headers": list(headers)}, receive, send))
    return sent


def test_the_middleware_knows_when_the_answer_began(copied, runs) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        with copied.span("decode"):
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start"})
        await send({"type": "http.response.body"})

    wrapped = copied.RequestIds(app)
    answer = ["http.response.start", "http.response.body"]
    assert asked(wrapped, [(b"x-request-id", b"a")]) == answer
    over_ns = time.monotonic_ns()
    inner, box = told(copied, runs / "run")
    assert (inner["stage"], box["stage"]) == ("decode", "request")
    assert inner["ids"] == box["ids"] == ["a"]
    assert box["start_ns"] <= inner["start_ns"] <= inner["end_ns"] <= box["end_ns"]
    assert box["end_ns"] + 2 * SENDING_S * 1e9 <= over_ns
    assert asked(wrapped, []) == asked(wrapped, [], kind="websocket") == answer
    assert whose(copied, runs / "run")[2:] == [("decode", [], [])] * 2


def test_the_middleware_knows_when_all_of_the_request_was_there(copied, runs) -> None:
    seen: list[int] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            seen.append(time.monotonic_ns())
        seen.append(time.monotonic_ns())
        await send({"type": "http.response.start"})

    assert asked(copied.RequestIds(app), [(b"x-request-id", b"a")]) == ["http.response.start"]
    (box,) = told(copied, runs / "run")
    first, last = seen
    assert first < box["start_ns"] <= last < box["end_ns"]


FORKED = """
import os, sys
sys.path.insert(0, {folder!r})
from visiontax_spans import span
with span("decode", request_id="parent"):
    pass
child = os.fork()
with span("decode", request_id="child" if not child else "later"):
    pass
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_after_a_fork_the_child_tells_its_own_and_no_more(runs, tmp_path) -> None:
    (runs / "run").mkdir(parents=True)
    program = tmp_path / "forked.py"
    program.write_text(FORKED.format(folder=str(SOURCE.parent)))
    with started((PYTHON, str(program)), log=tmp_path / "log") as process:
        assert ended(process) == 0, (tmp_path / "log").read_text()
    files = [path.read_text().splitlines() for path in (runs / "run").glob("*.jsonl")]
    found = sorted([json.loads(line)["ids"][0] for line in file] for file in files)
    assert found == [["child"], ["parent", "later"]]


KILLED = """
import sys, time
sys.path.insert(0, {folder!r})
from visiontax_spans import span
with span("decode", request_id="a"):
    pass
print("told", flush=True)
time.sleep(1000)
"""


def test_what_is_killed_has_told_all_but_its_last_moment(runs, tmp_path) -> None:
    (runs / "run").mkdir(parents=True)
    program = tmp_path / "killed.py"
    program.write_text(KILLED.format(folder=str(SOURCE.parent)))
    with started((PYTHON, str(program)), log=tmp_path / "log") as process:
        (path,) = until(lambda: list((runs / "run").glob("*.jsonl")), "spans are written")
        until(lambda: path.read_text().endswith("\n"), "a line is whole")
        process.kill()
        ended(process)
    assert json.loads(path.read_text())["where"] == "killed"


def test_a_full_disk_ends_the_telling(copied, runs, monkeypatch) -> None:
    with copied.span("decode", request_id="a"):
        pass
    assert len(told(copied, runs / "run")) == 1
    with monkeypatch.context() as patch:
        patch.setattr(copied.os, "write", lambda file, data: os.pwrite(file, data[:3], 0))
        with copied.span("decode", request_id="b"):
            pass
        copied._told.write()
    assert copied._told._lost


def test_the_folder_of_another_user_is_not_trusted(copied, runs, monkeypatch) -> None:
    monkeypatch.delenv(visiontax_spans.FOLDER)
    monkeypatch.setattr(copied, "_TEMPORARY", str(runs.parent))
    own = Path(copied.folder())
    (own / "run").mkdir(parents=True)
    assert copied._runs() == [str(own / "run")]
    monkeypatch.setattr(copied.os, "lstat", lambda _: SimpleNamespace(st_uid=os.getuid() + 1))
    assert copied._runs() == []
