"""Memory of every process, and the size of every file, over many requests of one real run.

Run as a program: `soak.py REQUESTS USERS FOLDER`. Slopes are of a line through all samples after
the first tenth of the requests (least squares), in MB per million requests.
"""

import re
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
from processes import BENCH, ROOT, environment, family

from bench.report.document.text import text_table
from pipelines.processes import Child

EVERY_S = 2.0
KINDS = {
    "guard.py": "guard",
    "tritonserver": "Triton",
    "watching.monitor": "monitor",
    "locust": "generator",
}


def named(process: psutil.Process) -> str:
    """What it is: of a process of Triton's the model's instance."""
    words = " ".join(process.cmdline())
    if "python_backend_stub" in words:
        return next(iter(re.findall(r"\S+_\d+_\d+", words)), "stub")
    return next((kind for part, kind in KINDS.items() if part in words), "bench")


def requests_in(folder: Path) -> int:
    """How many requests are recorded by now."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*/requests-*.jsonl"))


def main(wanted: int, users: int, folder: Path) -> None:
    """Make the run, and print both tables."""
    command = [*BENCH, "run", "classification", "--images", "small", "--duration", "10h"]
    command += ["--users", str(users), "--results", str(folder)]
    taken: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with Child("the run", command, folder=ROOT, environment=environment()) as child:
        while child.alive and (done := requests_in(folder)) < wanted:
            for one in family(child.process):
                try:
                    taken[named(one)].append((done, one.memory_full_info().uss / 1e6))
                except psutil.Error:
                    continue
            time.sleep(EVERY_S)
    total = requests_in(folder)
    rows = []
    for name, samples in sorted(taken.items()):
        counted = np.array([each for each in samples if each[0] > total / 10])
        if len(counted) > 2:
            slope = np.polyfit(counted[:, 0] / 1e6, counted[:, 1], 1)[0]
            first, last = counted[0, 1], counted[-1, 1]
            rows.append([name, f"{first:.1f}", f"{last:.1f}", f"{slope:+.1f}"])
    print(f"{total:,} requests, {users} users; memory of its own (USS), in MB")
    print("\n".join(text_table(["process", "at 10 %", "at the end", "per million"], rows)))
    (run,) = folder.iterdir()
    sizes = [(path.name, path.stat().st_size) for path in sorted(run.iterdir())]
    cells = [[name, f"{size / 1e6:.2f}", f"{size / total:.0f}"] for name, size in sizes]
    print("\n".join(text_table(["file", "MB", "bytes a request"], cells)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
