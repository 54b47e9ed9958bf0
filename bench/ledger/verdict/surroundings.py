"""What happened around the load: server and clock, the machine's other work, the memory.

It is read from the samples of the monitor, one a second. Older runs have fewer kinds of them, and
then less is found.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from bench.ledger.sources.cpu import used_shares
from bench.ledger.verdict.codes import Found
from bench.record.manifest import Manifest
from bench.record.records import MACHINE, MONITOR, ON_OTHER_HOSTS, Sample

Samples = Sequence[Sample]

STEP_S = 0.1
"""Both clocks are slewed alike, so the distance between them changes only by a step or a suspend;
below this it may be the reading of them.
"""

STEAL_AT_MOST, STEAL_INVALID_FROM = 0.05, 0.5
FOREIGN_AT_MOST = 0.15
"""Of the time of all cores."""

BUSY_AT_MOST = 0.95
"""Of one core, by the busiest process of the load generator."""

GROWTH_AT_LEAST, GROWN_BYTES = 0.10, 32 << 20
"""Of a process in the window: of what it had, and at least so much."""

FEWEST_SAMPLES = 9

ROUND_NS = 1_200_000_000
"""From one round of samples to the next, at most, where the machine is not busy."""


def of_surroundings(
    manifest: Manifest, samples: Samples, *, window_ns: tuple[int, int], paused: bool
) -> Found:
    """Say what happened in the window. Of a load that was `paused` in it, what it took turns with
    is no stranger.
    """
    start, end = window_ns
    around = [one for one in samples if start - ROUND_NS <= one.time_ns <= end + ROUND_NS]
    yield from _restarts(around, start=start)
    yield from _clock(around, start=start)
    inside = [one for one in samples if start <= one.time_ns <= end]
    if not paused:
        yield from _generator(manifest, inside, window_ns=window_ns)
        yield from _machine(manifest, inside)
    yield from _memory(inside)


def _restarts(samples: Samples, *, start: int) -> Found:
    for role in ("server", "broker"):
        seen = defaultdict(list)
        for one in samples:
            if one.role == role and one.listens:
                seen[one.pid].append(one.time_ns)
        for (old, its), (new, others) in itertools.permutations(seen.items(), 2):
            if max(its) < min(others):
                at_s = max(0, min(others) - start) / 1e9
                said = (
                    f"the {role} was restarted: after {at_s:.0f} s it was process {new}, not {old}"
                )
                yield "RESTARTED", said, True
                break


def _clock(samples: Samples, *, start: int) -> Found:
    read = [(one.time_ns, one.unix_ns - one.time_ns) for one in samples if one.unix_ns is not None]
    for (_, before), (at, after) in itertools.pairwise(read):
        step_s = (after - before) / 1e9
        if abs(step_s) > STEP_S:
            at_s = max(0, at - start) / 1e9
            said = (
                f"after {at_s:.0f} s the clock was set, or the machine stood still: {step_s:+.3g} s"
            )
            yield "CLOCK_STEP", said, True
            return


def _generator(manifest: Manifest, samples: Samples, *, window_ns: tuple[int, int]) -> Found:
    if manifest.settings.local:  # its processes do the work that is measured
        return
    used = used_shares(samples, role="generator", window_ns=window_ns)
    if used and max(used) > BUSY_AT_MOST:
        said = f"a process of the load generator used {max(used):.0%} of a core: it is the limit"
        yield "GENERATOR_BUSY", said, manifest.settings.open


def _machine(manifest: Manifest, samples: Samples) -> Found:
    """Other guests of the host, and other programs here.

    What of these is a server in a container that could not be seen, nobody knows: it only warns.
    """
    taken = [one for one in samples if one.role == MACHINE]
    cores = manifest.machine.get("cores")
    if not taken or not isinstance(cores, int):
        return
    passed = (taken[-1].time_ns - taken[0].time_ns) / 1e9 * cores
    if passed <= 0:
        return
    steal_s = (taken[-1].steal_s or 0) - (taken[0].steal_s or 0)
    if steal_s > STEAL_AT_MOST * passed:
        said = f"other guests of the host took {steal_s / passed:.0%} of the cores' time"
        yield "STEAL", said, steal_s > STEAL_INVALID_FROM * passed
    if taken[0].steal_s is None or manifest.machine.get("cpu_quota_cores") is not None:
        return
    by_process = defaultdict(list)
    for one in samples:
        if one.role != MACHINE and one.pid < ON_OTHER_HOSTS:
            by_process[one.role, one.pid].append(one.cpu_s)
    ours_s = sum(max(used) - min(used) for used in by_process.values())
    foreign_s = taken[-1].cpu_s - taken[0].cpu_s - steal_s - ours_s
    if foreign_s > FOREIGN_AT_MOST * passed:
        said = f"other programs of this machine took {foreign_s / passed:.0%} of the cores' time"
        yield "FOREIGN", said, False


def _memory(samples: Samples) -> Found:
    """Of each process: thirds of the window in which it has more and more, by about as much."""
    by_process = defaultdict(list)
    for one in samples:
        if one.memory_bytes is not None and one.role != MONITOR:
            by_process[one.role, one.pid].append(one)
    for (role, pid), taken in by_process.items():
        took_s = (taken[-1].time_ns - taken[0].time_ns) / 1e9
        if len(taken) < FEWEST_SAMPLES or took_s <= 0:
            continue
        held = np.array([one.memory_bytes for one in taken], float)
        first, middle, last = (float(np.median(third)) for third in np.array_split(held, 3))
        grown = last - first
        steady = min(middle - first, last - middle) > grown / 4
        if steady and grown > max(GROWN_BYTES, GROWTH_AT_LEAST * first):
            per_minute = grown / (took_s * 2 / 3) * 60 / 1e6
            said = f"the {role} (process {pid}) took {per_minute:.0f} MB more memory each minute"
            yield "MEMORY", said, False
