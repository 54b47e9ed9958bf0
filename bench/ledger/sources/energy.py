"""What energy the machine of a run used, by the counters of its processors and GPUs."""

from collections import defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np

from bench.record.records import GPU, PROCESSORS, EnergyRead
from pipelines.errors import VisiontaxError
from pipelines.servers import device


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine used in the window, by the counters of its processors, and of the GPUs that
    the server was on: all of it, also what it uses idle, for the load, and for other programs.

    `watts` are by counter; `joules_per_image` is of all these together, None without a counter and
    where nothing came through. `lacking` is why a counter could not be read, by its name.
    """

    joules_per_image: float | None
    watts: dict[str, float]
    lacking: dict[str, str]


def energy(
    taken: Sequence[EnergyRead],
    *,
    window_ns: tuple[int, int],
    paused: bool,
    throughput_per_s: float,
    on: str,
) -> Energy | None:
    """Return what was used in the window, with the server `on` that device; None of a run that did
    not look. Where the load was paused, to take turns with another, nobody knows whose it was.
    """
    if not taken:
        return None
    kinds = (PROCESSORS, *_gpus(on))
    by_counter: dict[str, list[EnergyRead]] = defaultdict(list)
    lacking = {}
    for one in taken:
        if one.counter.startswith(kinds[0]) or one.counter in kinds:
            if one.energy_uj is None:
                lacking[one.counter] = one.lacking
            else:
                by_counter[one.counter].append(one)
    if paused:
        lacking |= dict.fromkeys(by_counter, "the load took turns with another")
        by_counter.clear()
    for gpu in kinds[1:]:
        if gpu not in by_counter:
            lacking.setdefault(gpu, "NVML does not know it")
    powers = {name: power_w(own, window_ns=window_ns) for name, own in by_counter.items()}
    watts = {name: power for name, power in powers.items() if power is not None}
    lacking |= {name: "it did not count" for name in powers if name not in watts}
    known = bool(watts) and throughput_per_s > 0
    return Energy(
        joules_per_image=sum(watts.values()) / throughput_per_s if known else None,
        watts=watts,
        lacking=lacking,
    )


def _gpus(on: str) -> list[str]:
    try:
        return [f"{GPU}{number}" for number in device.parse(on).gpus]
    except VisiontaxError:
        return []


def power_w(taken: Sequence[EnergyRead], *, window_ns: tuple[int, int]) -> float | None:
    """Return the mean power in the window by one counter's readings, straight lines between them;
    None where there are not two, and of a counter that stands still or went back by itself.

    It began at 0 again wherever it is less than before: its range is to be added. At a reading a
    second that is so once at most.
    """
    ordered = sorted(taken, key=lambda one: one.time_ns)
    if len(ordered) < 2:
        return None
    counted = np.array([one.energy_uj or 0 for one in ordered], np.float64)
    steps = np.diff(counted)
    steps[steps < 0] += max(one.range_uj or 0 for one in ordered)
    times = np.array([one.time_ns for one in ordered], np.float64)
    start, end = (min(max(moment, times[0]), times[-1]) for moment in window_ns)
    if (steps < 0).any() or not steps.any() or end <= start:
        return None
    whole = np.concatenate([[0.0], np.cumsum(steps)])
    before, after = map(float, np.interp([start, end], times, whole))
    return (after - before) / 1e6 / (float(end - start) / 1e9)
