"""What an older visiontax recorded can still be reported."""

import json
from pathlib import Path

import msgspec

from bench.commands.selfcheck.scale import write_run
from bench.ledger.reading import summary_of
from bench.record import records
from bench.record.manifest import MANIFEST, read_manifest


def test_samples_with_the_memory_that_was_once_recorded_can_be_read(tmp_path: Path) -> None:
    line = '{"time_ns":5,"role":"server","pid":7,"cpu_s":0.25,"memory_bytes":41316352}\n'
    (tmp_path / records.SAMPLES).write_text(line)
    assert records.read_samples(tmp_path) == [records.Sample(5, "server", 7, 0.25, 41316352)]


def as_schema_1(folder: Path) -> None:
    """Rewrite a run as the first version of the files had it."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["schema"] = 1
    for field in ("topology", "broker", "crops", "claims", "workers", "batch", "served_by"):
        del manifest["settings"][field]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    (path,) = folder.glob("requests-*.jsonl")
    lines = []
    for line in path.read_bytes().splitlines():
        request = json.loads(line)
        ((_, sent, received, *_),) = request.pop("calls")
        request |= {"sent_ns": sent, "received_ns": received}
        request["spans"] = [span[:5] for span in request["spans"]]
        lines.append(json.dumps(request))
    path.write_text("\n".join(lines) + "\n")


def test_a_run_of_schema_1_gives_the_same_report(tmp_path: Path) -> None:
    write_run(tmp_path, requests=200)
    now = summary_of(tmp_path)
    assert now.valid
    assert now.stages["send"].mean_ms > 0
    as_schema_1(tmp_path)
    assert read_manifest(tmp_path).schema == 1
    assert msgspec.to_builtins(summary_of(tmp_path)) == msgspec.to_builtins(now)
