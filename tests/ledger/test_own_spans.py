"""What servers told of themselves goes to whom it is of, once, and into stages that are known."""

from pathlib import Path

import msgspec
from experiments import manifest, request, write_run
from test_ledger import execution, no_trace, nonzero, trace_of, traced

from bench.ledger.attribution.columns import records_of
from bench.ledger.attribution.ledger import ledger
from bench.ledger.reading import read, summary_of
from bench.ledger.sources.own_spans import NAMES, OwnSpans
from bench.record.manifest import Manifest
from bench.record.records import ToldSpan, read_told
from pipelines.spans import STAGES, Call, Request, Span

BY_TRITON = manifest(transport="http", stages={"pre": "preprocess", "dnn": "inference"})
BY_THE_WEB = manifest(transport="plain")


def told(stage: str, start: int, end: int, *ids: str, where: str = "pre", **more) -> ToldSpan:
    """A span of r, unless `ids` say of whom."""
    return ToldSpan(stage, start, end, where, list(ids) or ["r"], more.get("waiting", []), 1, 1)


def spans(*given: ToldSpan, made: Manifest = BY_TRITON, call: Call | None = None) -> list[Span]:
    """What of it the request r has, with one call."""
    asked = Request("r", "classification", 0, 0, 100, None, 0, 0, [], [call or Call("r", 2, 96)])
    return OwnSpans(made, given).given(asked).spans


def test_a_span_goes_to_its_request_and_no_other() -> None:
    mine = Span("decode", 20, 30, "pre")
    assert spans(told("decode", 20, 30)) == [mine]
    assert spans(told("decode", 20, 30, "s")) == []
    assert spans(told("decode", 20, 30), call=Call("r/1", 2, 96)) == [mine]
    assert spans(told("decode", 20, 30, "r/1"), call=Call("r/1", 2, 96)) == [mine]


def test_what_is_shared_is_divided_and_what_is_not_waited_for_not_critical() -> None:
    shared = told("inference", 20, 30, "r", "s")
    assert spans(shared) == [Span("inference", 20, 30, "pre", 2)]
    call = Call("r", 2, 96, 4, critical=False)
    assert spans(shared, call=call) == [Span("inference", 20, 30, "pre", 8, critical=False)]


def test_work_for_others_of_a_batch_is_waiting() -> None:
    assert spans(told("decode", 20, 30, "s", waiting=["r"])) == [Span("queue", 20, 30, "pre")]


def test_a_web_servers_box_says_when_a_request_came_and_went() -> None:
    box = told("request", 10, 90, where="uvicorn")
    assert spans(box, made=BY_THE_WEB) == [
        Span("send", 2, 10, "client"),
        Span("receive", 90, 96, "client"),
    ]
    assert spans(box) == []


def test_every_stage_can_be_told_but_those_between_two_sides() -> None:
    assert set(STAGES) - set(NAMES) == {"schedule", "send", "server", "receive"}
    for name in NAMES:
        assert spans(told(name, 20, 30)) == [Span(name, 20, 30, "pre")]


def test_an_unknown_name_counts_as_what_the_model_computes_and_is_said() -> None:
    for where, stage in (("pre", "preprocess"), ("dnn", "inference"), ("app", "other")):
        own = OwnSpans(BY_TRITON, [told("tokenise\x1b", 20, 30, where=where)])
        assert not list(own.strange())
        asked = Request("r", "", 0, 0, 100, None, 0, 0, [], [Call("r", 2, 96)])
        assert own.given(asked).spans == [Span(stage, 20, 30, where)]
        (said,) = own.strange()
        assert "not known: tokenise\x1b;" in said
        assert all(name in said for name in NAMES)


def test_a_name_is_spelt_out_before_it_is_printed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", BY_THE_WEB, [request(0, 0, {"decode": 1.0})])
    line = msgspec.json.encode(told("tokenise\x1b", 20, 30, "r0"))
    (folder / "spans-1.jsonl").write_bytes(line + b"\n")
    (said,) = read(folder).strange
    assert "not known: tokenise\\x1b;" in said


def test_spans_of_no_request_are_said_where_there_are_no_others() -> None:
    nobodys = msgspec.structs.replace(told("decode", 20, 30), ids=[])
    own = OwnSpans(BY_TRITON, [nobodys])
    assert list(own.strange()) == [
        "1 spans that servers told are of no request that could be found"
    ]
    own = OwnSpans(BY_TRITON, [nobodys, told("decode", 20, 30)])
    own.given(Request("r", "", 0, 0, 100, None, 0, 0, [], []))
    assert list(own.strange()) == []


def accounted(own: OwnSpans, sent: Request, trace) -> dict[str, int]:
    counted = ledger(records_of([own.given(sent)]), trace, stages=own.stages)
    assert counted.time_ns[0].sum() == sent.end_ns - sent.due_ns
    return nonzero(counted.time_ns[0])


def test_what_a_model_tells_takes_the_place_of_its_box() -> None:
    own = OwnSpans(BY_TRITON, [told("decode", 20, 26), told("resize", 26, 33)])
    sent, trace = traced()
    times = accounted(own, sent, trace)
    assert (times["decode"], times["resize"], times["inference"]) == (6, 7, 30)
    assert "preprocess" not in times
    assert times["input"] == (20 - 14) + 3  # until the first span, and the DNN's
    assert times["output"] == (44 - 33) + 10  # since the last one


def test_a_model_that_the_run_knows_nothing_of_may_tell_its_stages() -> None:
    sent, _ = traced()
    trace = trace_of(execution("whole", 1, asked=(10, 90), computed=(14, 16, 80, 84)))
    own = OwnSpans(
        BY_TRITON,
        [told("decode", 20, 40, where="whole"), told("inference", 40, 75, where="whole")],
    )
    times = accounted(own, sent, trace)
    assert (times["decode"], times["inference"]) == (20, 35)
    assert "other" not in times


def test_two_calls_of_a_request_to_one_model_have_their_own_bounds() -> None:
    calls = [Call("r/1", 1, 50), Call("r/2", 50, 100)]
    sent = Request("r", "", 1, 1, 100, None, 0, 0, [], calls)
    trace = trace_of(
        execution("pre", 1, request="r/1", asked=(5, 45), computed=(6, 8, 40, 42)),
        execution("pre", 2, request="r/2", asked=(55, 95), computed=(56, 58, 90, 92)),
    )
    own = OwnSpans(BY_TRITON, [told("decode", 10, 38, "r/1"), told("decode", 60, 88, "r/2")])
    assert accounted(own, sent, trace) == {
        "send": 4 + 5,
        "queue": 2,
        "input": 4 + 4,
        "decode": 56,
        "output": 7 + 7,
        "receive": 5 + 5,
    }


def test_a_web_server_is_accounted_for_without_a_trace() -> None:
    own = OwnSpans(
        BY_THE_WEB,
        [told("decode", 20, 40, where="app"), told("request", 10, 90, where="app")],
    )
    sent, _ = traced()
    times = accounted(own, sent, no_trace())
    assert times == {
        "encode": 2,
        "send": 8,
        "decode": 20,
        "receive": 6,
        "parse": 4,
        "other": 10 + 50,
    }


def test_a_stored_run_says_what_is_strange(tmp_path: Path) -> None:
    requests = [request(number, number * 1000, {"send": 1.0}) for number in range(3)]
    folder = write_run(tmp_path / "run", manifest(), requests)
    lines = [
        msgspec.json.encode(told("decode", 10, 20, f"r{number}", where="app"))
        for number in range(3)
    ]
    path = folder / "spans-7.jsonl"
    path.write_bytes(b"\n".join(lines[:2]) + b"\n" + lines[2])
    assert len(list(read_told(folder))) == 2  # the last line was cut off
    assert read(folder).strange == []
    assert "SPANS" not in {issue.code for issue in summary_of(folder).issues}
    path.write_bytes(lines[0].replace(b"decode", b"walk") + b"\n")
    (issue,) = [issue for issue in summary_of(folder).issues if issue.code == "SPANS"]
    assert not issue.invalid
