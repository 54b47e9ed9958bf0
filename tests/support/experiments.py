"""Hand-made runs and experiments for the tests that compare."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.record.generator_check import GeneratorCheck
from bench.record.manifest import SCHEMA, Manifest, write_manifest
from bench.record.scenario import Settings
from pipelines.spans import Request, Span

MS = 1_000_000
S = 1000 * MS
SETTLE_S = 0.1
Stages = dict[str, float]
"""Milliseconds of each stage of a request, one after the other."""

STAGES = {"decode": 30.0, "inference": 60.0, "postprocess": 10.0}
SLOWER = STAGES | {"decode": 60.0}
"""130 ms in the place of 100: decode takes twice as long."""

CHECK = GeneratorCheck(
    checked="2026-11-29",
    machine={"cpu_model": "abacus", "cores": 2, "cpu_quota_cores": None, "kernel": "Linux 6"},
    versions={},
    closed_per_s=150.0,
    one_per_s=100.0,
    two_per_s=175.0,
    cpu_us=80.0,
    lateness=[],
)
"""What a load generator was found able to do."""


def manifest(name: str = "run", /, **changes: Any) -> Manifest:
    """A run of the fake engine, so that no trace is missed; `changes` also of its settings."""
    settings = {key: changes.pop(key) for key in Settings.__struct_fields__ if key in changes}
    base = Manifest(
        schema=SCHEMA,
        run=name,
        settings=Settings(**{"transport": "fake", "users": 1} | settings),
        image_sizes={"count": 32, "width": 500, "height": 375, "bytes": 40_000},
        stages={},
        machine={"cpu_model": "abacus", "cores": 2, "memory_bytes": 24 << 30},
        versions={"python": "3.11.9"},
        sha256={"mobilenet_v2/1/model.onnx": "0" * 64},
        revision="1234567",
        clock={},
        window_start_ns=0,
        window_end_ns=1000 * S,
    )
    return msgspec.structs.replace(base, **changes)


def request(number: int, due_ns: int, stages: Stages, *, error: str | None = None) -> Request:
    """A request whose stages follow each other from the moment when it was due."""
    spans, at = [], due_ns
    for stage, ms in stages.items():
        spans.append(Span(stage, at, at + round(ms * MS), "client"))
        at += round(ms * MS)
    times, image = (due_ns, due_ns, at), number % 2
    return Request(f"r{number}", "classification", *times, error, 1, 1, spans, [], image)


def write_run(folder: Path, made: Manifest, requests: Sequence[Request]) -> Path:
    """Write a run's folder, and return it."""
    folder.mkdir(parents=True)
    write_manifest(folder, made)
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in requests)
    (folder / "requests-1.jsonl").write_bytes(lines)
    return folder


def write_steady_run(
    folder: Path, stages: Stages, /, *, requests: int = 120, failed: int = 0, **changes: Any
) -> Path:
    """A run of one user whose every request takes the same; the first so many fail."""
    took_ns = round(sum(stages.values()) * MS)
    made = [
        request(number, number * took_ns, stages, error="no" if number < failed else None)
        for number in range(requests)
    ]
    changes = {"window_end_ns": requests * took_ns} | changes
    return write_run(folder, manifest(folder.name, **changes), made)


def slices(blocks: int, *, orders: str = "ABBA BAAB") -> list[dict[str, Any]]:
    """The slices of so many blocks, a second each with half a second between."""
    kinds = orders.lower().split()
    return [
        {
            "block": block,
            "side": side,
            "start_ns": (at := round((block * 4 + turn) * 1.5 * S)),
            "end_ns": at + S,
        }
        for block in range(blocks)
        for turn, side in enumerate(kinds[block % len(kinds)])
    ]


def alike(*_: object) -> Stages:
    """The stages of every request of either side."""
    return STAGES


def planted(side: str, _: int) -> Stages:
    """Those of B are slower."""
    return STAGES if side == "a" else SLOWER


def without(silent: str, *blocks: int) -> Callable[[str, int], Stages | None]:
    """That side's requests fail in these blocks, or in all."""

    def took(side: str, block: int) -> Stages | None:
        return None if side == silent and (not blocks or block in blocks) else STAGES

    return took


def write_experiment(
    folder: Path,
    took: Callable[[str, int], Stages | None] = alike,
    /,
    *,
    blocks: int = 20,
    a: str = "preprocess=opencv",
    b: str = "preprocess=dali",
    settings: dict[str, dict[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    """An experiment of one user a side; `took(side, block)` are a request's stages, None a failure.

    `settings` are those of each side's run.
    """
    turns = slices(blocks)
    settings = settings or {"a": {"preprocess": "opencv"}, "b": {"preprocess": "dali"}}
    for side in ("a", "b"):
        made: list[Request] = []
        for turn in turns:
            due = turn["start_ns"]
            while turn["side"] == side and due < turn["end_ns"]:
                stages = took(side, turn["block"])
                error = None if stages else "refused"
                made.append(request(len(made), due, stages or {"inference": 100}, error=error))
                due = made[-1].end_ns
        write_run(folder / side, manifest(side, **settings[side]), made)
    told = {"schema": 1, "a": a, "b": b, "settle_s": SETTLE_S, "slices": turns}
    told |= {"looks": [14], "looks_at_most": 2, "stopped": "sure"} | changes
    (folder / "ab.json").write_bytes(msgspec.json.encode(told))
    return folder
