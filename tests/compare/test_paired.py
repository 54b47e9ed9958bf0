"""The statistics of paired blocks: small cases by hand, and simulated jobs by the thousand.

To be quick the simulation draws fewer tosses and resamples than an experiment does.
"""

import numpy as np
import pytest
from simulated import MOST, in_blocks, jobs_of, noise, stages_of, tosses

from bench.compare.randomization import (
    FEWEST,
    LOOKS,
    Difference,
    Floats,
    between,
    chance_beyond,
    difference,
    differences,
    explained,
    is_sure,
    looks,
)

RATE = 0.01
RESAMPLES, FLIPS = 999, 3_999


def _quickly(blocks: Floats, *, flips: int = FLIPS) -> list[Difference]:
    return differences(blocks, resamples=RESAMPLES, flips=flips)


def run(blocks: Floats, *, questions: int = 1, flips: int = FLIPS) -> list[tuple[Difference, bool]]:
    """What each job ends with when it is looked at, and whether it was sure."""
    planned = looks(len(blocks))
    ended: dict[int, tuple[Difference, bool]] = {}
    for count in planned:
        going = [job for job in range(blocks.shape[1]) if job not in ended]
        found = _quickly(blocks[:count, going], flips=flips) if going else []
        for job, one in zip(going, found, strict=True):
            sure = is_sure(one.chance, rate=RATE, looks=len(planned), questions=questions)
            if sure or one.half_width <= 0.01 or count == planned[-1]:
                ended[job] = one, sure
    return [ended[job] for job in range(blocks.shape[1])]


def covered(found: list[Difference], effect: float) -> float:
    return float(np.mean([one.low <= np.exp(effect) <= one.high for one in found]))


# The simulated jobs


@pytest.fixture(scope="module")
def alike() -> list[tuple[Difference, bool]]:
    """What jobs end with in which A and B are the same."""
    return run(jobs_of(np.random.default_rng(1)))


def test_a_against_a_raises_a_false_alarm_in_at_most_1_of_100(
    alike: list[tuple[Difference, bool]],
) -> None:
    assert np.mean([sure for _, sure in alike]) <= RATE


def test_intervals_cover_the_truth_when_jobs_stop_by_themselves(
    alike: list[tuple[Difference, bool]],
) -> None:
    assert 0.93 <= covered([found for found, _ in alike], 0.0) <= 0.97
    different = run(jobs_of(np.random.default_rng(2), effect=0.03))
    assert 0.93 <= covered([found for found, _ in different], 0.03) <= 0.97


@pytest.mark.parametrize("blocks", [3, 6, 9, 10, 14, 32, 72])
def test_intervals_cover_the_truth(blocks: int) -> None:
    made = jobs_of(np.random.default_rng(blocks), blocks=blocks, jobs=3000, effect=0.1)
    assert 0.93 <= covered(_quickly(made, flips=99), 0.1) <= 0.97


def test_many_questions_raise_no_more_false_alarms_than_one() -> None:
    jobs, questions = 300, 20
    made = jobs_of(np.random.default_rng(3), blocks=32, jobs=jobs * questions)
    alarms = [
        is_sure(one.chance, rate=0.05, looks=1, questions=questions) for one in _quickly(made)
    ]
    assert np.mean(np.reshape(alarms, (jobs, questions)).any(axis=1)) <= 0.07


def test_the_noise_is_that_which_was_recorded() -> None:
    steps = np.diff(noise(200, 100, np.random.default_rng(4)), axis=0)
    assert 0.035 <= np.median(steps.std(axis=0)) / np.sqrt(2) <= 0.05


def test_a_stage_that_is_a_tenth_slower_is_found_and_blamed() -> None:
    random = np.random.default_rng(5)
    tossed = tosses(1000, MOST, random)
    took, of_bs = stages_of(tossed, random, slower=0.1)
    blocks = in_blocks(np.log(sum(took.values())), tossed)
    found = run(blocks, questions=10, flips=9_999)
    blamed = []
    for job, (end, _) in enumerate(found):
        of_b = of_bs[: 4 * end.blocks, job]
        slices = {name: ms[: 4 * end.blocks, job] for name, ms in took.items()}
        moved = {name: ms[of_b].mean() - ms[~of_b].mean() for name, ms in slices.items()}
        blamed.append(next(iter(explained(moved))))
    surely = [stage for (_, sure), stage in zip(found, blamed, strict=True) if sure]
    assert len(surely) / len(found) >= 0.95
    assert set(surely) == {"decode"}


# Small cases, by hand


def test_the_ratio_is_the_geometric_mean_of_the_blocks() -> None:
    found = difference(np.log([2.0, 8.0, 4.0]))
    assert found.ratio == pytest.approx(4)
    assert found.blocks == 3
    # Student's interval of log 2, log 4, log 8: 4.303 standard errors of log 2 / sqrt 3.
    reach = np.exp(4.303 * np.log(2) / np.sqrt(3))
    assert (found.low, found.high) == pytest.approx((4 / reach, 4 * reach))


def test_the_chance_counts_every_toss_of_a_few_blocks() -> None:
    assert difference(np.array([1.0, 2.0, 3.0, 4.0])).chance == 2 / 16
    # As far as 1 + 2 - 4 = -1, or further: all tosses but those that sum up to nothing nearer.
    sums = [a + 2 * b + 4 * c for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]
    far = sum(abs(one) >= 1 for one in sums) / 8
    assert difference(np.array([1.0, 2.0, -4.0])).chance == far


def test_tosses_of_many_blocks_are_drawn_and_count_the_one_that_was() -> None:
    found = difference(np.full(40, 0.1) + np.arange(40) / 1000)
    assert found.chance == 1 / 50_000


@pytest.mark.parametrize("blocks", [3, 12, 20])
def test_blocks_that_all_say_the_same_have_no_width(blocks: int) -> None:
    found = difference(np.full(blocks, np.log(1.1)))
    assert (found.low, found.ratio, found.high) == pytest.approx((1.1, 1.1, 1.1))
    assert found.chance <= 2 / 2**blocks + 1e-4
    assert found.half_width == pytest.approx(0)
    same = difference(np.zeros(blocks))
    assert (same.ratio, same.chance) == (1, 1)


def test_one_block_unlike_all_others_is_no_difference() -> None:
    found = difference(np.array([0.0] * 19 + [3.0]))
    assert found.chance == 1
    assert found.low < 1 < found.high


def test_what_is_swapped_is_turned_round() -> None:
    blocks = jobs_of(np.random.default_rng(6), blocks=14, jobs=1)[:, 0] + 0.02
    one, other = difference(blocks), difference(-blocks)
    assert other.ratio == pytest.approx(1 / one.ratio)
    assert (other.low, other.high) == pytest.approx((1 / one.high, 1 / one.low))
    assert other.chance == one.chance


def test_each_question_has_the_answer_it_would_have_alone() -> None:
    blocks = jobs_of(np.random.default_rng(7), blocks=21, jobs=3, effect=0.02)
    assert differences(blocks)[1] == difference(blocks[:, 1])


@pytest.mark.parametrize("count", range(FEWEST))
def test_too_few_blocks_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"3 blocks or more are needed, not {count}"):
        difference(np.zeros(count))


def test_a_block_without_a_ratio_is_refused() -> None:
    with pytest.raises(ValueError, match="no logarithm"):
        difference(np.array([0.1, np.nan, 0.2]))
    with pytest.raises(ValueError, match="no logarithm"):
        chance_beyond(np.array([0.1, -np.inf, 0.2]), factor=1.0, above=True)


def test_beyond_a_factor_is_judged_on_its_own_side() -> None:
    blocks = np.log([1.10, 1.12, 1.08, 1.11, 1.09, 1.10, 1.13, 1.07])
    assert chance_beyond(blocks, factor=1.05, above=True) == 1 / 2**8
    assert chance_beyond(blocks, factor=1.05, above=False) == 1
    assert chance_beyond(blocks, factor=1.20, above=True) == 1
    assert chance_beyond(-blocks, factor=1 / 1.05, above=False) == 1 / 2**8
    assert 0.3 < chance_beyond(blocks, factor=1.10, above=True) < 0.7


def test_a_true_change_of_what_is_allowed_is_seldom_called_more() -> None:
    made = jobs_of(np.random.default_rng(8), blocks=14, jobs=1000, effect=np.log(1.05))
    alarms = [chance_beyond(one, factor=1.05, above=True) <= 0.05 for one in made.T]
    assert 0.03 <= np.mean(alarms) <= 0.07


def test_samples_that_nothing_pairs_are_dealt_again() -> None:
    a, b = np.log([1.0, 1.1, 0.9, 1.0]), np.log([2.0, 2.1, 1.9])
    found = between(a, b)
    assert found.ratio == pytest.approx(np.exp(b.mean() - a.mean()))
    assert found.low < found.ratio < found.high
    assert found.blocks == 3
    # One of the 35 ways to deal seven values is as far on this side, and none on the other.
    assert found.chance == pytest.approx(1 / 35, abs=0.01)
    assert between(a, a).chance == 1


def test_intervals_of_samples_that_nothing_pairs_cover_the_truth() -> None:
    random = np.random.default_rng(9)
    found = [between(random.normal(0, 0.04, 12), random.normal(0.1, 0.08, 20)) for _ in range(300)]
    assert 0.92 <= covered(found, 0.1) <= 0.98
    assert between(np.zeros(12), np.ones(12)).low == pytest.approx(np.e)


@pytest.mark.parametrize(
    ("most", "planned"),
    [
        (5, [5]),
        (14, [14]),
        (15, [14, 15]),
        (75, [14, 21, 32, 48, 72, 75]),
        (108, [*LOOKS]),
        (900, [*LOOKS[:-1], 900]),
    ],
)
def test_looks_end_with_the_budget(most: int, planned: list[int]) -> None:
    assert looks(most) == planned
    assert len(planned) <= len(LOOKS)


def test_looks_and_questions_share_the_rate() -> None:
    found = Difference(1.1, 1.05, 1.15, chance=0.001, blocks=20)
    assert is_sure(found.chance, rate=0.01, looks=5, questions=2)
    assert not is_sure(found.chance, rate=0.01, looks=5, questions=3)
    assert is_sure(found.chance, rate=0.01)
    assert not is_sure(found.chance, rate=0.005)


def test_the_first_look_can_answer_for_a_whole_table() -> None:
    least = Difference(2, 2, 2, chance=2 / 2 ** LOOKS[0], blocks=LOOKS[0])
    assert is_sure(least.chance, rate=0.05, questions=20)


def test_the_parts_of_a_difference_sum_to_one() -> None:
    found = explained({"decode": 4.0, "resize": 1.5, "queue": -0.5})
    assert found == {"decode": 0.8, "resize": 0.3, "queue": -0.1}
    assert list(found) == ["decode", "resize", "queue"]
    faster = explained({"queue": 0.2, "decode": -1.0})
    assert list(faster) == ["decode", "queue"]
    assert faster["decode"] == pytest.approx(1.25)
    assert explained({"decode": 0.0}) == {}
