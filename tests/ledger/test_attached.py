"""A server that was attached to: what its trace says goes to the requests that it is of, and what
its counters say opens it where it is one stage.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from attached_run import attached, counted
from experiments import MS, manifest, request, write_run
from summaries import summary

from bench.ledger.attribution.table import COLUMNS
from bench.ledger.causes.findings import findings
from bench.ledger.causes.opened import opened
from bench.ledger.models import ModelTable, ModelTimes
from bench.ledger.reading import read
from bench.ledger.summary import Summary
from bench.record import trace
from bench.record.foreign.statistics import write_snapshots
from bench.report import why, words
from bench.report.run import render
from pipelines.errors import ResultsError


def stages(folder: Path, request: int) -> dict[str, float]:
    times = read(folder).ledger.time_ns[request]
    return {name: ns / MS for name, ns in zip(COLUMNS, times, strict=True) if ns}


def test_a_trace_is_seen_into(tmp_path: Path) -> None:
    folder = attached(tmp_path / "r", "trace", ids=["a", "b"], seen=["a", "b"])
    found = stages(folder, 1)
    assert (found["decode"], found["send"], found["inference"], found["receive"]) == (10, 10, 40, 5)
    assert found["queue"] == 15  # the ensemble's 5, and the DNN's 10
    assert sum(found.values()) == 100
    assert read(folder).ledger.joined.all()


@pytest.mark.parametrize("level", ["trace", "otlp"])
def test_what_was_not_traced_is_one_stage_and_said(level: str, tmp_path: Path) -> None:
    folder = attached(tmp_path / "r", level, ids=["a", "b"], seen=["a"])
    assert stages(folder, 1) == {"decode": 10, "server": 80, "other": 10}
    assert [*read(folder).ledger.joined] == [True, False]
    codes = {issue.code: issue.invalid for issue in read(folder).summary().issues}
    assert codes["UNJOINED"]
    nothing = attached(tmp_path / "n", level, ids=["a", "b"], seen=[])
    assert "NO_TRACE" in {issue.code for issue in read(nothing).summary().issues}


def test_a_trace_by_another_hosts_clock_is_found_and_has_a_cure(tmp_path: Path) -> None:
    folder = attached(tmp_path / "r", "otlp", ids=["a", "b"], seen=["a", "b"])
    early = trace.read(folder)
    events = [name for name in trace.EVENTS if early[name].any()]
    early[events] = (early[events] - 50 * MS).clip(lower=1)
    trace.write(folder, early.itertuples(index=False, name=None))
    issues = {issue.code: issue.hint for issue in read(folder).summary().issues}
    assert "on the server's host" in issues["CLOCK"]


def test_where_nothing_can_be_seen_that_is_no_fault(tmp_path: Path) -> None:
    folder = attached(tmp_path / "r", "client", ids=["a", "b"], seen=[])
    told = read(folder).summary()
    assert not {"NO_TRACE", "UNJOINED"} & {issue.code for issue in told.issues}
    assert (told.level, told.non_inference_share) == ("client", None)
    assert "does not tell on what" in why.nothing(msgspec.structs.replace(told, valid=True))
    assert words.breakdown(told).endswith("is inference is not known")


def test_counters_of_the_window_are_told_and_who_else_asked(tmp_path: Path) -> None:
    ids = [f"r{number}" for number in range(20)]
    folder = attached(tmp_path / "r", "statistics", ids=ids, seen=[])
    taken = [counted(s * 1000 * MS, 5 + 30 * s, computing_ms=30) for s in (1, 2, 3)]
    write_snapshots(folder, taken)
    told = read(folder).summary().counters
    assert told is not None
    (only,) = told.models
    assert (only.model, only.stage, only.requests) == ("whole", "ensemble", 60)
    assert "50 of 60 requests that it counted were of others" in told.notes
    (folder / "statistics.jsonl").write_bytes(b"{}\n")
    with pytest.raises(ResultsError, match="line 1 is damaged"):
        read(folder).summary()


def table(*models: tuple[str, str, int, float, float]) -> ModelTable:
    """Of each model its stage, requests, and the ms that a request was queued and computed."""
    times = [
        ModelTimes(
            model=name,
            stage=stage,
            requests=requests,
            errors=0,
            cached=0,
            items=requests,
            executions=requests,
            batches={},
            queue_ms=queue_ms,
            input_ms=0.0,
            computing_ms=computing_ms,
            output_ms=0.0,
            other_ms=0.0,
            total_ms=queue_ms + computing_ms,
            total_s=1.0,
        )
        for name, stage, requests, queue_ms, computing_ms in models
    ]
    return ModelTable(1, "triton-statistics", 1, 1.0, times, [])


def closed(counters: ModelTable) -> Summary:
    """A run of 100 ms, 90 of them in the server, which counted that."""
    mix = {"encode": 5.0, "server": 90.0, "other": 5.0}
    made = summary(mix, level="statistics", server="h:1", counters=counters, pipeline="whole")
    return msgspec.structs.replace(
        made, non_inference_share=None, users=8, transport="http", place="server"
    )


def test_counters_open_the_server() -> None:
    made = opened(
        closed(
            table(
                *(("whole", "ensemble", 10, 0.0, 0.0), ("dnn", "inference", 20, 5.0, 20.0)),
                *(("pre", "preprocess", 10, 0.0, 30.0), ("x", "another", 99, 9.0, 9.0)),
            )
        )
    )
    shares = {name: round(time.share, 6) for name, time in made.stages.items()}
    wanted = {"encode": 0.05, "other": 0.05, "queue": 0.1, "inference": 0.4, "preprocess": 0.3}
    assert shares == wanted | {"send": 0.1, "input": 0.0, "output": 0.0}


@pytest.mark.parametrize(
    ("queue_ms", "computing_ms", "pre_ms", "code"),
    [
        (80, 5, 5, "QUEUE"),
        (5, 80, 5, "INFERENCE"),
        (5, 5, 75, "PREPROCESSING"),
        (5, 5, 5, "TRANSPORT"),
    ],
)
def test_a_cause_in_a_closed_server_is_named(
    queue_ms: float, computing_ms: float, pre_ms: float, code: str
) -> None:
    made = closed(
        table(
            ("whole", "ensemble", 10, 0.0, 0.0),
            ("dnn", "inference", 10, queue_ms, computing_ms),
            ("pre", "preprocess", 10, 0.0, pre_ms),
        )
    )
    (found,) = findings(made)
    assert found.code == code
    assert found.command[:5] == ["bench", "attach", "h:1", "--model", "whole"]
    for format in ("text", "md", "html", "json"):
        assert code in render([made], format=format)


def test_what_is_inference_is_told_of_the_mean() -> None:
    made = closed(table(("whole", "inference", 10, 5.0, 60.0)))
    assert words.breakdown(made).endswith("counters 60.0 ms is inference, and 40.0 % is not")


def test_requests_without_a_source_are_as_they_were(tmp_path: Path) -> None:
    write_run(tmp_path / "r", manifest(), [request(0, 0, {"decode": 30.0})])
    assert read(tmp_path / "r").summary().level is None
