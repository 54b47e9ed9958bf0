"""Each contract of pyproject.toml is broken on purpose; rooms are small, and say what they are."""

import ast
import re
import shutil
import statistics
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from processes import ROOT, run

PACKAGES = ("bench", "pipelines")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
BENCH, LOAD, GROUPS, LAPTOP, ONE_WAY, PIPELINES, CIRCLE = (each["name"] for each in CONTRACTS)
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
ROOMS = sorted({path.parent for path in MODULES})
NEW_ROOM = "planted/__init__.py"
MORE_THAN_A_DOCSTRING = {"pipelines/brokers", "pipelines/tasks"}


def lint(planted: dict[str, str], *, into: Path) -> str:
    """Return what lint-imports says of a copy of the sources with these lines added to files."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "templates")
        shutil.copytree(ROOT / package, into / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", into)
    for name, line in planted.items():
        (into / name).parent.mkdir(exist_ok=True)
        with (into / name).open("a") as file:
            file.write(f"{line}\n")
    program = Path(sys.executable).with_name("lint-imports")
    done = run((program, "--no-cache"), folder=into, variables={"PYTHONPATH": str(into)})
    assert done.returncode == bool(planted), done.stdout + done.stderr
    return done.stdout


def broken(said: str) -> set[str]:
    return set(re.findall(r"^(.*) BROKEN$", said, re.MULTILINE))


@pytest.mark.parametrize(
    ("file", "line", "contracts"),
    [
        ("bench/record/files.py", "import bench.ledger.units", {BENCH, CIRCLE}),
        ("bench/generator/turns.py", "import bench.commands.show", {BENCH, CIRCLE}),
        ("bench/compare/likeness.py", "import bench.prepare.pins", {BENCH}),
        ("bench/runs/order.py", "import bench.report.words", {BENCH}),
        ("bench/commands/show.py", "import bench.load", {BENCH}),
        (f"bench/{NEW_ROOM}", '"""Nobody knows where this is."""', {BENCH}),
        ("bench/load.py", "import bench.runs.order", {LOAD}),
        ("bench/load.py", "import pipelines.spans", {LOAD}),
        ("bench/commands/comparing/ab.py", "import bench.commands.measuring.run", {GROUPS}),
        ("bench/ledger/units.py", "import redis", {LAPTOP}),
        ("bench/report/words.py", "import pipelines.engines.triton_grpc", {LAPTOP}),
        ("pipelines/worker.py", "import bench.runs.order", {ONE_WAY}),
        ("pipelines/tasks/lines.py", "import pipelines.engines.engine", {PIPELINES, CIRCLE}),
        ("pipelines/brokers/memory.py", "import pipelines.preprocess.jpeg", {PIPELINES}),
        ("pipelines/servers/malloc.py", "import pipelines.topologies.asking", {PIPELINES}),
        (f"pipelines/{NEW_ROOM}", '"""Nobody knows where this is."""', {PIPELINES}),
        ("bench/ledger/attribution/table.py", "import bench.ledger.summary", {CIRCLE}),
    ],
)
def test_an_import_that_may_not_be_breaks_its_contract_and_no_other(
    tmp_path: Path, file: str, line: str, contracts: set[str]
) -> None:
    assert broken(lint({file: line}, into=tmp_path)) == contracts


def test_a_circle_is_found_in_every_room(tmp_path: Path) -> None:
    planted = {}
    for room in (path.relative_to(ROOT) for path in ROOMS):
        one, other = (".".join((*room.parts, name)) for name in ("planted_a", "planted_b"))
        planted |= {
            f"{room}/planted_a.py": f"import {other}",
            f"{room}/planted_b.py": f"import {one}",
        }
    said = lint(planted, into=tmp_path)
    found = set(re.findall(r"^No cycles are allowed in (.*)\.$", said, re.MULTILINE))
    assert found == {".".join(room.relative_to(ROOT).parts) for room in ROOMS}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_says_what_it_is_and_holds_nothing_else(room: Path) -> None:
    tree = ast.parse((room / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    if str(room.relative_to(ROOT)) not in MORE_THAN_A_DOCSTRING:
        assert len(tree.body) == 1


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_is_seen_at_a_glance(room: Path) -> None:
    entries = {path.stem for path in room.iterdir()} - {"__init__", "__pycache__"}
    assert len(entries) <= 12


def test_nothing_in_bench_has_a_name_of_the_standard_library() -> None:
    entries = {path.stem for path in (ROOT / "bench").iterdir()}  # first on sys.path under Locust
    assert not entries & sys.stdlib_module_names


def test_modules_are_short_and_floors_few() -> None:
    lengths = [len(path.read_text().splitlines()) for path in MODULES if path.name != "__init__.py"]
    assert statistics.median(lengths) < 130
    floors = Counter(each["type"] for each in CONTRACTS if len(each.get("layers", ())) <= 7)
    assert floors["layers"] == 2
