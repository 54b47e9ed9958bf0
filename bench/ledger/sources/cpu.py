"""What CPU time the processes of a run took, and what anybody took of the machine's cores."""

from collections import defaultdict
from collections.abc import Sequence

from bench.record.records import MACHINE, Sample

ROLES = ("generator", "server", "worker", "broker")


def cpu_shares(
    samples: Sequence[Sample], *, window_ns: tuple[int, int], running_ns: int, quota: bool
) -> dict[str, float | None]:
    """Return, by the fields of a Summary, the shares of each role, and `busy_cores`.

    These are the cores that somebody used, be it another guest of the host: of older runs, and
    where a `quota` bounds us and not the machine, the sampled processes. None without samples.
    """
    found: dict[str, float | None] = {}
    ours: list[float] = []
    # Paused, a load takes next to none.
    scale = (window_ns[1] - window_ns[0]) / running_ns if running_ns else None
    for role in ROLES:
        used = used_shares(samples, role=role, window_ns=window_ns)
        used = [] if scale is None else [one * scale for one in used]
        whole = max if role == "generator" else sum
        found[f"{role}_cpu_share"] = whole(used) if used else None
        ours += used
    anybody = [] if quota else used_shares(samples, role=MACHINE, window_ns=window_ns)
    busy = anybody or ours
    return found | {"busy_cores": sum(busy) if busy else None}


def used_shares(samples: Sequence[Sample], *, role: str, window_ns: tuple[int, int]) -> list[float]:
    """CPU time per time of the window, of each process of the role."""
    by_process: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.role == role and window_ns[0] <= sample.time_ns <= window_ns[1]:
            by_process[sample.pid].append(sample)
    return [
        (taken[-1].cpu_s - taken[0].cpu_s) / ((taken[-1].time_ns - taken[0].time_ns) / 1e9)
        for taken in by_process.values()
        if taken[-1].time_ns > taken[0].time_ns
    ]
