"""Of files that are not held in memory, what is of a request is found, and damage is named."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from bench.ledger.sources.lookup import Told, Trace
from bench.record import trace
from bench.record.records import ToldSpan
from pipelines.errors import ResultsError


def row(request: str, number: int, *, parent: int = 0, at: int = 7) -> list[object]:
    return [request, "dnn", number, parent, *[at] * len(trace.EVENTS)]


def found(folder: Path, *ids: str, rooted: bool = False) -> list[int]:
    """The executions that are of them."""
    rows = Trace(folder, Counter(), rooted=rooted).of(ids)
    return rows["id"].tolist()


def test_executions_are_found_wherever_they_are(tmp_path: Path) -> None:
    ids = ["a", "b", "a", 'say "c", d', "b", "a", "é"]
    trace.write(tmp_path, [row(id, number) for number, id in enumerate(ids, start=1)])
    assert found(tmp_path, "a") == [1, 3, 6]
    assert found(tmp_path, "b", "a") == [1, 2, 3, 5, 6]
    assert found(tmp_path, 'say "c", d', "é") == [4, 7]
    assert found(tmp_path, "nobody") == []


def test_with_a_request_come_the_executions_that_it_asked_for(tmp_path: Path) -> None:
    asked = [row("a/1", 3, parent=2), row("a", 2, parent=1), row("a", 1), row("b", 4, parent=9)]
    trace.write(tmp_path, [*asked, row("x", 5, parent=6), row("y", 6, parent=5)])
    assert found(tmp_path, "a", rooted=True) == [3, 2, 1]
    assert found(tmp_path, "b", rooted=True) == [4]  # what asked for it is not there


def test_what_triton_has_written_so_far_is_read_once(tmp_path: Path) -> None:
    raw = '[{"id":1,"model_name":"dnn","request_id":"a","parent_id":0,"timestamps":[]}]'
    (tmp_path / "trace.json.0").write_text(raw)
    places = Counter[Path]()
    assert Trace(tmp_path, places).of(["a"])["id"].tolist() == [1]
    assert Trace(tmp_path, places).of(["a"])["id"].tolist() == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a,dnn,2,0,7", "it has 5 columns, not 20"),
        ("a,dnn,2,x" + 16 * ",7", "invalid literal"),
        ("a,dnn,2,0" + 15 * ",7" + ",-7", "a number is out of bounds"),
    ],
)
def test_a_damaged_line_of_the_trace_is_named(tmp_path: Path, line: str, why: str) -> None:
    trace.write(tmp_path, [row("a", 1)])
    with (tmp_path / "trace.csv").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ResultsError, match=f"trace.csv, line 3 is damaged: {why}"):
        found(tmp_path, "a")
    with pytest.raises(ResultsError, match=f"trace.csv, line 3 is damaged: {why}"):
        trace.read(tmp_path)


def test_of_the_spans_that_servers_told_those_of_a_request_are_read(tmp_path: Path) -> None:
    spans = [
        ToldSpan("decode", number, number + 1, "app", ids, waiting, 1, 1)
        for number, (ids, waiting) in enumerate([(["a"], []), (["b", "a"], ["c"]), ([], [])])
    ]
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in spans)
    (tmp_path / "spans-1.jsonl").write_bytes(lines)
    (tmp_path / "spans-2.jsonl").write_bytes(lines)
    told = Told(tmp_path, Counter())
    assert [*told.all()] == spans * 2
    told.load({"a", "nobody"})
    assert told["a"] == spans[:2] * 2
    told.load({"c"})
    assert told["c"] == [spans[1]] * 2
    assert "a" not in told
