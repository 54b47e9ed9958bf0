"""The strings that say what a gate allows, and what is said of a typo in one."""

import pytest

from bench.compare.thresholds import SHARES, UNITS, parse
from bench.ledger.summary import Summary
from pipelines.errors import VisiontaxError


@pytest.mark.parametrize(
    ("text", "metric", "sign", "limit", "kind"),
    [
        ("p99 < 50ms", "p99", "<", 50.0, "absolute"),
        ("p99<500 us", "p99", "<", 0.5, "absolute"),
        ("mean < 1.5s", "mean", "<", 1500.0, "absolute"),
        ("throughput > 100", "throughput", ">", 100.0, "absolute"),
        ("throughput > 2.5/s", "throughput", ">", 2.5, "absolute"),
        ("throughput > -5%", "throughput", ">", 0.95, "change"),
        ("  throughput  >  + 5 %  ", "throughput", ">", 1.05, "change"),
        ("stage.decode < +10%", "stage.decode", "<", 1.1, "change"),
        ("stage.other < 3ms", "stage.other", "<", 3.0, "absolute"),
        ("p95 < -10%", "p95", "<", 0.9, "change"),
        ("non_inference_share < 40%", "non_inference_share", "<", 0.4, "absolute"),
        ("broker_share < +2.5%", "broker_share", "<", 1.025, "change"),
        ("error_share < 1%", "error_share", "<", 0.01, "absolute"),
    ],
)
def test_a_threshold_is_read_with_its_unit(
    text: str, metric: str, sign: str, limit: float, kind: str
) -> None:
    found = parse(text)
    assert (found.metric, found.below, found.relative) == (metric, sign == "<", kind == "change")
    assert found.limit == pytest.approx(limit)
    assert found.text == text.strip()


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("", 1, "here a metric is wanted"),
        ("p98 < 50ms", 1, "unknown metric 'p98'"),
        ("  stage.decod < 1ms", 3, "unknown metric 'stage.decod'"),
        ("p99", 4, "here < or > is wanted"),
        ("p99 = 50ms", 5, "here < or > is wanted, not '='"),
        ("p99 <= 50ms", 6, "here a number is wanted"),
        ("p99 <   fast", 9, "here a number is wanted"),
        ("p99 < ", 7, "here a number is wanted"),
        ("p99 < 50", 9, "p99 is written with us or ms or s"),
        ("p99 < 50 min", 10, "p99 is written with us or ms or s"),
        ("p99 < 50%", 9, "and a change with a sign, like +10%"),
        ("p99 < +50ms", 10, "a change, with its sign, is written in %"),
        ("throughput > 100ms", 17, "throughput is written with no unit or /s"),
        ("throughput > -100%", 14, "nothing can fall by 100% or more"),
        ("throughput < 100", 12, "more of throughput is better, so its limit is with >"),
        ("p99 > 50ms", 5, "less of p99 is better, so its limit is with <"),
        ("non_inference_share < 0.4", 26, "non_inference_share is written with %"),
        ("error_share < +5%", 15, "error_share has an absolute limit only"),
        ("p99 < 50ms 3", 9, "p99 is written with"),
    ],
)
def test_a_typo_names_its_column_and_the_known_metrics(text: str, column: int, why: str) -> None:
    with pytest.raises(VisiontaxError) as caught:
        parse(text)
    assert f"{text!r}, column {column}: " in str(caught.value)
    assert why in str(caught.value)
    assert "throughput, mean, p50" in caught.value.hint
    assert "decode, resize" in caught.value.hint


def test_a_limit_itself_is_not_allowed() -> None:
    assert not parse("p99 < 50ms").allows(50)
    assert parse("p99 < 50ms").allows(49.9)
    assert not parse("throughput > -5%").allows(0.95)
    assert parse("throughput > -5%").allows(0.951)


def test_every_share_of_a_report_can_be_limited() -> None:
    fields = {name for name in Summary.__struct_fields__ if name.endswith("_share")}
    of_a_core = {name for name in fields if "cpu" in name}
    assert fields - of_a_core == set(SHARES) - {"error_share"}
    assert UNITS["mean"]["ms"] == 1
