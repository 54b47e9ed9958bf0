"""A run that cannot be trusted says so, with the reason and the cure."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from experiments import CHECK, MS, manifest, request, write_run
from test_stats import ledger

from bench.ledger.reading import summary_of
from bench.ledger.verdict.codes import CODES
from bench.ledger.verdict.judge import judge
from bench.record.records import DROPPED
from pipelines.errors import DEAD_MODEL
from pipelines.spans import OTHER

GOOD = {"send": 1.0, "inference": 9.0}


TRACED = manifest(transport="http")
CUT_OFF = manifest(transport="http", window_end_ns=None)


def codes(rows, *, failed=None, joined=None, made=TRACED) -> dict[str, bool]:
    """The issues' codes, and whether each invalidates."""
    issues = judge(made, ledger(rows, joined=joined), failed=Counter(failed or {}))
    assert all(issue.message and issue.hint and issue.code in CODES for issue in issues)
    return {issue.code: issue.invalid for issue in issues}


def test_a_good_run_has_no_issue() -> None:
    assert codes([GOOD] * 200) == {}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], {"NO_REQUESTS": True}),
        ([GOOD] * 99, {"FEW": False}),
        ([GOOD | {OTHER: 1.0}] * 200, {"OTHER": True}),
        ([GOOD | {"schedule": 2.0}] * 200, {"GENERATOR_LATE": True}),
        ([{"inference": 9.0}] * 200, {"CLOCK": True}),
    ],
)
def test_what_the_ledger_shows(rows, expected) -> None:
    assert codes(rows) == expected


def test_errors_warn_and_many_invalidate() -> None:
    assert codes([GOOD] * 200, failed={"bad": 1}) == {"ERRORS": False}
    assert codes([GOOD] * 200, failed={"bad": 20}) == {"ERRORS": True}


def test_the_commonest_error_is_named() -> None:
    failed = Counter({"the image is empty": 2, "rare": 1})
    (issue,) = judge(TRACED, ledger([GOOD] * 200), failed=failed)
    assert "3 of 203 requests failed, 2 with: the image is empty" in issue.message


def test_missing_traces() -> None:
    rows = [GOOD] * 200
    assert codes(rows, joined=[False] + [True] * 199) == {"UNJOINED": False}
    assert codes(rows, joined=[False] * 20 + [True] * 180) == {"UNJOINED": True}
    assert codes(rows, joined=[False] * 200) == {"NO_TRACE": True}


def test_a_model_that_died_in_the_warm_up_is_on_the_record(tmp_path: Path) -> None:
    """Triton answers some time later; by then requests of others may count already."""
    late = request(0, 0, {"queue": 200.0}, error=f"Stub process 'a{DEAD_MODEL}.")
    counted = [request(number, number * 10 * MS, {"inference": 10.0}) for number in range(10, 20)]
    made = manifest(window_start_ns=100 * MS, window_end_ns=200 * MS)
    summary = summary_of(write_run(tmp_path / "run", made, [late, *counted]))
    assert (summary.requests, summary.errors, summary.valid) == (11, 1, False)
    assert "SERVER_DIED" in {issue.code for issue in summary.issues}


def test_the_fake_engine_needs_no_trace() -> None:
    rows = [{"inference": 9.0}] * 200
    assert codes(rows, joined=[False] * 200, made=manifest()) == {}


def test_a_run_that_was_cut_off_says_so() -> None:
    assert codes([GOOD] * 200, made=CUT_OFF) == {"UNFINISHED": False}


def test_what_invalidates_comes_first() -> None:
    issues = judge(CUT_OFF, ledger([]), failed=Counter({"bad": 5}))
    assert [issue.invalid for issue in issues] == [True, True, False]


def test_drops_are_no_errors_and_many_of_them_invalidate() -> None:
    assert codes([GOOD] * 200, failed={DROPPED: 1}) == {"DROPS": False}
    assert codes([GOOD] * 200, failed={DROPPED: 20, "bad": 1}) == {"DROPS": True, "ERRORS": False}


def test_a_rate_near_what_the_generator_is_able_to_do_is_said() -> None:
    """A second of 200 requests."""
    window = {"window_start_ns": 0, "window_end_ns": 1000 * MS}
    for highest, invalid in ((300, None), (220, False), (199, True)):
        check = msgspec.structs.replace(CHECK, one_per_s=highest)
        made = manifest(transport="http", rate="200/s", due=200, generator=check, **window)
        found = {} if invalid is None else {"GENERATOR_RATE": invalid}
        assert codes([GOOD] * 200, made=made) == found


def test_what_was_due_and_is_not_on_record_is_missing() -> None:
    due = manifest(transport="http", rate="100/s", due=300)
    assert codes([GOOD] * 300, made=due) == {}
    assert codes([GOOD] * 296, made=due) == {}
    assert codes([GOOD] * 280, failed={DROPPED: 20}, made=due) == {"DROPS": True}
    assert codes([GOOD] * 250, made=due) == {"MISSING": True}
