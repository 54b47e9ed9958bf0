"""The summary: shares, percentiles, tail, throughput and CPU, from a ledger made by hand."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from experiments import manifest

from bench.ledger.attribution.table import COLUMNS, Ledger
from bench.ledger.sources.cpu import cpu_shares
from bench.ledger.summary import Issue, Summary, summarise
from bench.record.records import MACHINE, Sample
from pipelines.spans import OTHER

MS = 1_000_000


def ledger(rows: list[dict[str, float]], *, joined: list[bool] | None = None) -> Ledger:
    """Requests due every 10 ms whose stages take these milliseconds."""
    times = np.zeros((len(rows), len(COLUMNS)), np.int64)
    for number, row in enumerate(rows):
        for stage, took_ms in row.items():
            times[number, COLUMNS.index(stage)] = round(took_ms * MS)
    due = np.arange(len(rows)) * 10 * MS
    known = np.ones(len(rows), bool) if joined is None else np.array(joined)
    return Ledger(due, due + times.sum(axis=1), times, times, known, np.arange(len(rows)))


def summary(counted: Ledger, **others: Any) -> Summary:
    """The summary over a window of one second."""
    others = {"errors": 0, "samples": (), "issues": [], "mix": []} | others
    return summarise(manifest(), counted, window_ns=(0, 1000 * MS), **others)


def test_shares_are_of_the_summed_latency_and_sum_to_one() -> None:
    found = summary(ledger([{"decode": 1, "inference": 8, OTHER: 1}, {"inference": 10}]))
    shares = {name: stage.share for name, stage in found.stages.items()}
    assert shares == {"decode": 0.05, "inference": 0.9, OTHER: 0.05}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
    assert found.other_share == 0.05
    assert found.non_inference_share == pytest.approx(0.1)


def test_means_of_the_stages_sum_to_the_mean_latency() -> None:
    found = summary(ledger([{"decode": 1.5, "queue": 3}, {"inference": 10, "queue": 1}]))
    means = [stage.mean_ms for stage in found.stages.values()]
    assert found.latency_ms is not None
    assert sum(means) == pytest.approx(found.latency_ms.mean)


def test_the_tail_is_the_slowest_hundredth() -> None:
    rows = [{"inference": 5.0}] * 198 + [{"inference": 5.0, "queue": 95.0}] * 2
    found = summary(ledger(rows))
    assert found.tail_requests == 2
    assert found.tail_latency_ms == 100
    assert found.tail_stages["queue"].share == 0.95
    assert found.stages["queue"].share < 0.2


def test_throughput_counts_what_ended_inside_the_window() -> None:
    rows = [{"inference": 5.0}] * 100
    assert summary(ledger(rows)).throughput_per_s == 100
    rows[-1] = {"inference": 500.0}
    assert summary(ledger(rows)).throughput_per_s == 99


def test_requests_without_a_trace_count_in_the_latency_but_not_in_the_stages() -> None:
    found = summary(ledger([{"inference": 10}, {OTHER: 30}], joined=[True, False]))
    assert found.latency_ms is not None
    assert found.latency_ms.mean == 20
    assert found.stages["inference"].share == 1


def test_no_success_gives_no_numbers_rather_than_zeros() -> None:
    found = summary(ledger([]), errors=3)
    assert found.requests == found.errors == 3
    assert found.latency_ms is None
    assert found.stages == found.tail_stages == {}
    assert found.other_share is None
    assert found.non_inference_share is None


def test_one_invalidating_issue_makes_a_run_invalid() -> None:
    warning = Issue("FEW", "few", "more", invalid=False)
    assert summary(ledger([{"inference": 1}]), issues=[warning]).valid
    fatal = Issue("ERRORS", "errors", "fewer", invalid=True)
    assert not summary(ledger([{"inference": 1}]), issues=[warning, fatal]).valid


def test_cpu_is_the_busiest_generator_and_the_whole_server_inside_the_window() -> None:
    seen = {
        ("generator", 1): {-500: 0.0, 0: 5.0, 1000: 5.2},
        ("generator", 2): {0: 0.0, 1000: 0.4},
        ("server", 3): {0: 1.0, 1000: 1.9},
        ("server", 4): {0: 1.0, 1000: 1.7},
        ("server", 5): {500: 9.0},
    }
    samples = [
        Sample(ms * MS, *process, cpu_s)
        for process, used in seen.items()
        for ms, cpu_s in used.items()
    ]
    found = summary(ledger([{"inference": 1}]), samples=samples)
    assert found.generator_cpu_share == pytest.approx(0.4)
    assert found.server_cpu_share == pytest.approx(1.6)
    assert found.busy_cores == pytest.approx(2.2)
    nobody = summary(ledger([{"inference": 1}]))
    assert nobody.server_cpu_share is nobody.busy_cores is None


def test_busy_cores_are_those_that_anybody_used_unless_a_quota_bounds_us() -> None:
    seen = {("server", 3): (1.0, 1.5), (MACHINE, 0): (100.0, 101.75)}
    samples = [
        Sample(ms * MS, *process, cpu_s)
        for process, used in seen.items()
        for ms, cpu_s in zip((0, 1000), used, strict=True)
    ]
    cpu: dict[str, Any] = {"samples": samples, "window_ns": (0, 1000 * MS), "running_ns": 500 * MS}
    assert cpu_shares(**cpu, quota=False)["busy_cores"] == pytest.approx(1.75)
    assert cpu_shares(**cpu, quota=True)["busy_cores"] == pytest.approx(1.0)  # paused half the time
    assert cpu_shares(**cpu, quota=False)["server_cpu_share"] == pytest.approx(1.0)


def test_bytes_are_means_and_absent_where_nobody_counted() -> None:
    counted = ledger([{"inference": 1}] * 2)
    assert summary(counted).bytes_in is None
    counted = dataclasses.replace(counted, sizes=np.array([[10, 1], [20, 4]]))
    found = summary(counted)
    assert (found.bytes_in, found.bytes_out) == (15, 2.5)
    assert summary(counted.select(np.array([True, False]))).bytes_in == 10
    assert summary(counted.select(np.array([False, False]))).bytes_in is None
    assert (found.image_px, found.cores) == ((500, 375), 2)
