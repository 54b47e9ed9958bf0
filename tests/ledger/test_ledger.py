"""The ledger: every nanosecond belongs to one stage, whatever the spans."""

import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.ledger.attribution.columns import Spans, records_of
from bench.ledger.attribution.ledger import ledger, timelines
from bench.ledger.attribution.sweep import Segment, segments, sweep
from bench.ledger.attribution.table import COLUMNS
from bench.record.trace import EVENTS, KEYS
from pipelines.spans import OTHER, STAGES, Call, Request, Span

END = 60
STAGE_NAMES = sorted(STAGES)
SPAN = st.tuples(
    st.sampled_from(STAGE_NAMES), st.integers(-20, END + 20), st.integers(-20, END + 20)
)


def request(spans: list[Span], *, id: str = "r", due: int = 0, end: int = END) -> Request:
    """A request from `due` to `end` whose exchange with the server took all of it."""
    calls = [Call(id, due + 1, end - 1)]
    return Request(id, "classification", due, due, end, None, 0, 0, spans, calls)


def no_trace() -> pd.DataFrame:
    """What a run without Triton has."""
    types = dict.fromkeys([*KEYS, *EVENTS], "int64") | {"request": "str", "model": "str"}
    return pd.DataFrame(columns=[*KEYS, *EVENTS]).astype(types)


def nonzero(row: np.ndarray) -> dict[str, int]:
    """The times by stage, without those that took none."""
    return {name: int(time) for name, time in zip(COLUMNS, row, strict=True) if time}


def summed(found: list[Segment]) -> dict[str, int]:
    """The times by stage, in the ledger's order."""
    times = Counter[str]()
    for stage, start, end in found:
        times[stage] += end - start
    return {name: times[name] for name in COLUMNS if times[name]}


def times_of(spans: list[Span]) -> dict[str, int]:
    """The time of each stage of one request, without those that took none."""
    records = records_of([request(spans)])
    return nonzero(sweep(records.spans, due_ns=records.due_ns, end_ns=records.end_ns)[0])


def by_definition(spans: list[tuple[str, int, int]]) -> dict[str, int]:
    """The same, instant by instant: the active stage of highest priority, the first of equals."""
    times = dict.fromkeys(COLUMNS, 0)
    rank = {name: (-stage.priority, n) for n, (name, stage) in enumerate(STAGES.items())}
    for instant in range(END):
        active = [stage for stage, start, end in spans if start <= instant < end]
        times[min(active, key=rank.__getitem__) if active else OTHER] += 1
    return {name: time for name, time in times.items() if time}


@given(st.lists(SPAN, max_size=12))
@settings(max_examples=300, deadline=None)
def test_every_instant_goes_to_the_active_stage_of_highest_priority(spans) -> None:
    times = times_of([Span(stage, start, end, "client") for stage, start, end in spans])
    assert times == by_definition(spans)


@given(st.lists(st.lists(SPAN, max_size=6), min_size=1, max_size=8), st.integers(0, 10**15))
@settings(max_examples=100, deadline=None)
def test_stages_and_other_sum_to_the_latency_of_every_request(many, epoch) -> None:
    requests = [
        request(
            [Span(stage, epoch + start, epoch + end, "client") for stage, start, end in spans],
            id=str(number),
            due=epoch,
            end=epoch + END + number,
        )
        for number, spans in enumerate(many)
    ]
    records = records_of(requests)
    times = sweep(records.spans, due_ns=records.due_ns, end_ns=records.end_ns)
    assert (times.sum(axis=1) == records.end_ns - records.due_ns).all()
    assert (times >= 0).all()
    parts = segments(records.spans, due_ns=records.due_ns, end_ns=records.end_ns)
    for row, (one, found) in enumerate(zip(requests, parts, strict=True)):
        edges = [one.due_ns, *(part.end_ns for part in found)]
        assert [*(part.start_ns for part in found), one.end_ns] == edges
        assert all(part.start_ns < part.end_ns for part in found)
        assert all(a.stage != b.stage for a, b in itertools.pairwise(found))
        assert summed(found) == nonzero(times[row])


def test_requests_of_different_chunks_do_not_mix() -> None:
    count = 12_001
    rows = np.arange(count)
    stage = np.full(count, COLUMNS.index("decode"))
    start, one = 1000 * rows[::-1] + 1, np.ones(count, np.int64)
    spans = Spans(rows[::-1], stage, start, start + 7, one, one)
    times = sweep(spans, due_ns=1000 * rows, end_ns=1000 * rows + 10)
    assert (times[:, COLUMNS.index("decode")] == 7).all()
    assert (times[:, COLUMNS.index(OTHER)] == 3).all()


def time_and_work(*spans: Span) -> tuple[int, int]:
    """Of one request's only stage."""
    counted = ledger(records_of([request([*spans])]), no_trace(), stages={})
    assert counted.time_ns[0].sum() == END
    column = COLUMNS.index(spans[0].stage)
    return counted.time_ns[0, column], counted.works[0, column]


def test_work_counts_overlaps_twice_and_time_does_not() -> None:
    spans = (Span("decode", 0, 40, "client"), Span("decode", 20, 60, "client"))
    assert time_and_work(*spans) == (60, 80)


def execution(
    model: str,
    number: int,
    *,
    request: str = "r",
    parent: int = 0,
    asked: tuple[int, ...] = (),
    computed: tuple[int, ...] = (),
) -> dict[str, object]:
    """A traced execution: when its request began and was answered, and its steps of computing."""
    steps = ("COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END")
    times = dict(zip(("REQUEST_START", "HTTP_SEND_START"), asked, strict=False))
    times |= dict(zip(steps, computed, strict=False))
    return {"request": request, "model": model, "id": number, "parent": parent, **times}


def trace_of(*executions: dict[str, object]) -> pd.DataFrame:
    """A trace of the executions, other events 0."""
    rows = [[row.get(name, 0) for name in (*KEYS, *EVENTS)] for row in executions]
    return pd.DataFrame(rows, columns=[*KEYS, *EVENTS])


def traced() -> tuple[Request, pd.DataFrame]:
    """One request through an ensemble of a preprocessing model and a DNN."""
    ensemble = execution("ensemble", 1, asked=(10, 90))
    first = execution("pre", 2, parent=1, computed=(14, 16, 40, 44))
    second = execution("dnn", 3, parent=1, computed=(47, 50, 80, 97))
    own = [Span("encode", 0, 2, "client"), Span("parse", 96, 100, "client")]
    sent = Request("r", "classification", 0, 0, 100, None, 0, 0, own, [Call("r", 2, 96)])
    return sent, trace_of(ensemble, first, second)


STAGES_OF = {"pre": "preprocess", "dnn": "inference"}


def test_a_trace_is_joined_with_the_clients_spans() -> None:
    sent, trace = traced()
    counted = ledger(records_of([sent]), trace, stages=STAGES_OF)
    assert counted.joined.all()
    assert nonzero(counted.time_ns[0]) == {
        "encode": 2,
        "send": 8,  # sent at 2, unpacked by 10
        "queue": 4 + 3,  # 10 to 14, and 44 to 47
        "input": 2 + 3,
        "preprocess": 24,
        "inference": 30,
        "output": 4 + 10,  # the second model's ends when Triton starts to send
        "receive": 6,
        "parse": 4,
    }


def test_a_models_own_spans_take_the_place_of_its_box() -> None:
    sent, trace = traced()
    steps = ("queue", "input", "decode", "resize", "normalize", "queue")
    marks = (18, 19, 20, 30, 34, 36, 38)
    sent.spans += [
        Span(stage, start, end, "pre")
        for stage, start, end in zip(steps, marks, marks[1:], strict=False)
    ]
    counted = ledger(records_of([sent]), trace, stages=STAGES_OF)
    times = dict(zip(COLUMNS, counted.time_ns[0].tolist(), strict=True))
    assert times["preprocess"] == 0
    assert (times["decode"], times["resize"], times["normalize"]) == (10, 4, 2)
    assert times["queue"] == 7 + 1 + 2  # called but not its turn; done but not the batch
    assert times["input"] == 4 + 1 + 3
    assert sum(times.values()) == 100


def test_an_apportioned_box_loses_no_nanosecond() -> None:
    sent, trace = traced()
    shares = {"decode": 0.61, "resize": 0.29, "normalize": 0.1}
    counted = ledger(records_of([sent]), trace, stages=STAGES_OF, apportion=shares)
    times = dict(zip(COLUMNS, counted.time_ns[0].tolist(), strict=True))
    assert (times["decode"], times["resize"], times["normalize"]) == (14, 6, 4)
    assert times["preprocess"] == 0
    assert counted.apportioned == ("decode", "resize", "normalize")
    assert sum(times.values()) == 100


def test_a_request_closely_has_the_spans_of_the_trace_and_the_ledgers_times() -> None:
    sent, trace = traced()
    shares = {"decode": 0.61, "resize": 0.29, "normalize": 0.1}
    counted = ledger(records_of([sent]), trace, stages=STAGES_OF, apportion=shares)
    (found,) = timelines([sent], trace, stages=STAGES_OF, apportion=shares)
    assert found.joined
    assert summed(found.segments) == nonzero(counted.time_ns[0])
    assert found.segments[3:7] == [
        *(("input", 14, 16), ("decode", 16, 30), ("resize", 30, 36), ("normalize", 36, 40)),
    ]
    assert {Span("preprocess", 16, 40, "pre"), Span("inference", 50, 80, "dnn")} < {*found.spans}
    assert {Span("send", 2, 10, "client"), Span("output", 40, 44, "pre")} < {*found.spans}
    assert {*sent.spans} < {*found.spans}
    assert len(sent.spans) == 2


def test_a_box_in_two_pieces_is_divided_as_one() -> None:
    spans = [Span("preprocess", 0, 10, "dali"), Span("preprocess", 40, 50, "dali")]
    spans.append(Span("inference", 10, 60, "dnn", critical=False))
    shares = {"decode": 0.75, "resize": 0.15, "normalize": 0.1}
    (found,) = timelines([request(spans)], no_trace(), stages={}, apportion=shares)
    assert found.segments == [
        *(("decode", 0, 10), (OTHER, 10, 40)),
        *(("decode", 40, 45), ("resize", 45, 48), ("normalize", 48, 50), (OTHER, 50, 60)),
    ]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_request_with_half_a_trace_still_adds_up(lost) -> None:
    sent, trace = traced()
    counted = ledger(records_of([sent]), trace.drop(index=lost), stages=STAGES_OF)
    assert counted.time_ns.sum() == 100
    assert counted.joined.all() == (lost != 0)


def test_a_failed_request_is_counted_by_its_reason() -> None:
    failed = request([])
    failed.error = "the image is empty"
    records = records_of([failed, request([])])
    assert records.failed == {"the image is empty": 1}
    assert len(records.due_ns) == 1


def test_what_the_request_did_not_wait_for_is_work_but_no_time() -> None:
    last = Span("inference", 20, 40, "dnn")
    earlier = Span("inference", 5, 15, "dnn", critical=False)
    assert time_and_work(last, earlier) == (20, 30)


def test_the_work_of_a_batch_is_shared_by_its_items() -> None:
    assert time_and_work(Span("inference", 0, 40, "dnn", 8)) == (40, 5)


def batch_of(request_id: str) -> dict[str, object]:
    """A traced execution of a DNN that somebody asked directly."""
    return execution("dnn", 7, request=request_id, asked=(12, 55), computed=(14, 16, 50, 52))


def test_a_batch_with_crops_of_two_requests_counts_for_both() -> None:
    batch = Call("batch", 10, 58, 2)
    two = [Request(id, "faces", 0, 0, END, None, 0, 0, [], [batch]) for id in ("one", "another")]
    counted = ledger(records_of(two), trace_of(batch_of("batch")), stages=STAGES_OF)
    assert counted.joined.all()
    column = COLUMNS.index("inference")
    assert counted.time_ns[:, column].tolist() == [34, 34]
    assert counted.works[:, column].tolist() == [17, 17]


def test_a_request_is_joined_only_when_all_its_calls_are() -> None:
    calls = [Call("batch", 10, 58), Call("lost", 58, 59)]
    asked = Request("r", "faces", 0, 0, END, None, 0, 0, [], calls)
    counted = ledger(records_of([asked]), trace_of(batch_of("batch")), stages=STAGES_OF)
    assert not counted.joined.any()


def test_what_a_model_asks_of_its_own_server_is_a_call_of_its_own() -> None:
    asking = execution("fused", 1, asked=(4, 56), computed=(5, 6, 53, 54))
    inner = batch_of("r/0") | {"parent": 1, "HTTP_SEND_START": 0, "COMPUTE_OUTPUT_START": 40}
    own = [Span("input", 6, 8, "fused"), Span("encode", 8, 10, "fused")]
    own.append(Span("parse", 53, 53, "fused"))
    sent = Request(
        "r", "faces", 0, 0, END, None, 0, 0, own, [Call("r", 1, 58), Call("r/0", 10, 53)]
    )
    stages = {"fused": "preprocess", "dnn": "inference"}
    counted = ledger(records_of([sent]), trace_of(asking, inner), stages=stages)
    assert counted.joined.all()
    assert nonzero(counted.time_ns[0]) == {
        "send": 3 + 2,  # of the client, and from the model to its own server
        "queue": 1 + 2,
        "input": 3 + 2,  # of the model that asks, its own span included, and of the DNN
        "encode": 2,
        "inference": 24,
        "output": 12 + 3,  # of the DNN until its results were copied, of the asking model
        "receive": 1 + 2,
        "other": 1 + 2,
    }
