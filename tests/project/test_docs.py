"""The docs say what the code says: names, options, command lines, links. Needs no server."""

import importlib
import inspect
import math
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import numpy as np
import pytest
from networks import DNNS
from processes import PYTHON, ROOT, run

from bench.commands.cli import GROUPS, SELFCHECK, bench
from bench.commands.options import Several
from bench.ledger.causes import findings
from bench.ledger.causes.findings import Finding
from bench.ledger.grid import found as studied
from bench.ledger.grid import kept
from bench.ledger.grid.fit import Fit
from bench.ledger.models import ModelTable, ModelTimes
from bench.ledger.sources.energy import Energy
from bench.ledger.summary import Issue, Latency, StageTime, Summary
from bench.ledger.verdict.codes import CODES
from bench.predict.curve import Curve
from bench.predict.found import Found, Row
from bench.predict.knee import Knee
from bench.predict.points import Point
from bench.predict.saturation import Saturation
from bench.prepare.pins import MEMBERS
from bench.record.foreign.ingested import COMPUTING
from bench.record.manifest import SCHEMA, Manifest, Placed, Source
from bench.record.records import EnergyRead, Sample
from bench.record.scenario import Settings
from bench.record.trace import EVENTS, KEYS
from bench.report.why import TITLE
from pipelines import tasks
from pipelines.brokers import BROKERS, broker, kafka_settings
from pipelines.servers.kafka import HEAP, PROPERTIES
from pipelines.servers.sizing import Served
from pipelines.spans import OTHER, STAGES, Call, Request, Span
from pipelines.topologies.brokered.packing import QUALITY
from pipelines.topologies.brokered.stages import IN_FLIGHT
from pipelines.topologies.names import FORMS, TOPOLOGIES
from pipelines.topologies.setting import flag, seconds, table
from pipelines.worker import command as worker

PAGES = [ROOT / "README.md", ROOT / "results" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXIT_CODES = (0, 1, 2, 3, 4)
# In two parts each, so that this file does not hold what it looks for.
FORBIDDEN = tuple(
    "".join(parts)
    for parts in (
        ("/wo", "rk/"),
        ("/ho", "me/"),
        ("/ro", "ot/"),
        ("/Us", "ers/"),
        ("py", "pi.org"),
        ("pythonho", "sted.org"),
        ("npm", "js."),
        ("maven", ".org"),
        ("maven", ".apache.org"),
        ("proxy.go", "lang.org"),
        ("--extra-index", "-url"),
    )
)
# Locust has an option of the same meaning, or names the run on its own.
NOT_IN_LOCUST = {"users", "duration", "server", "format", "device"}
NOT_IN_LOCUST |= {"preprocess-instances", "inference-instances", "threads", "dnn-batch"}
SETTINGS = {flag(field): one.also for field, one in table(Settings).items()}
WORKER = "python -m pipelines.worker"
TAKEOVER_S = inspect.signature(broker).parameters["takeover_s"].default


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def named(text: str) -> set[str]:
    """Every name that the page puts between backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each table row, by the first name in its first cell."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and (first := re.match(r"`([^`]+)`", cells[0])):
            found[first[1]] = cells
    return found


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section '## {title}'"
    return found[1]


def command_of(title: str) -> click.Command:
    """The command that a section of docs/commands.md is about."""
    if title == WORKER:
        return worker
    command: click.Command = bench
    for name in title.split()[1:]:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


COMMANDS = [name for group in GROUPS.values() for name in group if name != "selfcheck"]
TITLES = [f"bench {name}" for name in (*COMMANDS, *(f"selfcheck {one}" for one in SELFCHECK))]
TITLES.append(WORKER)


def shown_options(title: str) -> list[click.Option]:
    params = command_of(title).params
    return [param for param in params if isinstance(param, click.Option) and not param.hidden]


def options(title: str) -> list[str]:
    return [
        name for option in shown_options(title) for name in (*option.opts, *option.secondary_opts)
    ]


def choices(kind: Any) -> list[str]:
    """What a type of option allows, empty when it allows anything of a kind."""
    if isinstance(kind, click.Choice):
        return list(kind.choices)
    return kind.name.split("|") if isinstance(kind, Several) and "|" in kind.name else []


def option_rows(title: str) -> dict[str, list[str]]:
    """The rows of a command's options; what its own table lacks is as in that of the settings."""
    text = page("docs/commands.md")
    return rows(section(text, "Settings")) | rows(section(text, title))


def table_options(text: str) -> set[str]:
    """The options of a section's table, and the settings that it says are taken."""
    told = {name for name in rows(text) if name.startswith("--")}
    if "(#settings)" in text:
        without = re.search(r"\(#settings\) without (.*?)[.;]", text, re.DOTALL)
        told |= SETTINGS.keys() - {"--pipeline"} - (named(without[1]) if without else set())
    return told | {SETTINGS[name] for name in told if SETTINGS.get(name)}


class LocustOption(msgspec.Struct):
    """`ours` when it is not Locust's own."""

    ours: bool
    default: str | int | float | bool | None
    choices: list[str]


@cache
def locust_options() -> dict[str, LocustOption]:
    """Every option that `locust -f bench/load.py` takes.

    Asked of a child process: importing Locust patches the standard library, and its --help leaves
    out what a locustfile adds.
    """
    code = (
        "import argparse, json, locust.argument_parser as a\n"
        "def known():\n"
        "    shown = [x for x in a.get_parser()._actions if x.help != argparse.SUPPRESS]\n"
        "    return {option: x for x in shown for option in x.option_strings}\n"
        "its = known()\n"
        "import bench.load\n"
        "print(json.dumps({option: {\n"
        "    'ours': option not in its, 'default': x.default, 'choices': list(x.choices or [])\n"
        "} for option, x in known().items()}, default=str))"
    )
    done = run((PYTHON, "-W", "ignore", "-c", code))
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=dict[str, LocustOption])


OWN = "mine"
"""What the pages call a pipeline of the reader's own."""


class Line(NamedTuple):
    """A command line of a page; `whole` when it is one to copy and not just a mention."""

    page: str
    words: tuple[str, ...]
    whole: bool


def command_lines() -> Iterator[tuple[str, str, bool]]:
    """Yield page, text and `whole` of everything that may be a command line."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        fence = re.compile(r"^[ ]*```(?:sh)?\n(.*?)^[ ]*```", re.MULTILINE | re.DOTALL)
        for block in fence.findall(text):
            for line in block.replace("\\\n", "").splitlines():
                yield path.name, line.split(" #")[0].strip(), True
        for mention in named(re.sub(r"^[ ]*```.*?^[ ]*```", "", text, flags=re.M | re.S)):
            yield path.name, mention, False


def lines_of(program: str) -> list[Line]:
    found = []
    for name, line, whole in command_lines():
        try:
            words = shlex.split(re.sub(r"\s>\s.*", "", line))
        except ValueError:
            continue
        while words and re.fullmatch(r"[A-Z]+=\S*", words[0]):
            words.pop(0)
        if len(words) > 1 and Path(words[0]).name == program:
            found.append(Line(name, tuple(words[1:]), whole))
    return sorted(set(found))


def shown(line: Line) -> str:
    return f"{line.page}: {' '.join(line.words)}"


@pytest.mark.parametrize("title", TITLES)
def test_every_command_and_option_is_documented(title: str) -> None:
    told = table_options(section(page("docs/commands.md"), title))
    assert told == set(options(title))


def test_every_locust_option_of_ours_is_documented() -> None:
    told = table_options(section(page("docs/commands.md"), "locust -f bench/load.py"))
    ours = {name for name, option in locust_options().items() if option.ours}
    assert told == ours | {"--host"}


def test_locust_takes_the_names_of_bench_run() -> None:
    expected = {name for name in options("bench run") if name.strip("-") not in NOT_IN_LOCUST}
    assert expected <= locust_options().keys()


@pytest.mark.parametrize("title", TITLES)
def test_documented_defaults_are_the_real_ones(title: str) -> None:
    table = option_rows(title)
    for option in shown_options(title):
        default = option.to_info_dict()["default"]
        if default in (None, ()) or option.is_flag:
            continue
        told = table[option.opts[0]][1].strip("`")
        assert _same(told, default), f"{option.opts[0]}: {told!r} is documented for {default!r}"


def test_documented_defaults_of_locusts_options_are_the_real_ones() -> None:
    table = option_rows("locust -f bench/load.py")
    for name, option in locust_options().items():
        if option.ours and option.default:
            assert table[name][1].strip("`") == str(option.default), name


@pytest.mark.parametrize("title", [*TITLES, "locust -f bench/load.py"])
def test_every_choice_of_an_option_is_documented(title: str) -> None:
    if title.startswith("locust"):
        known = {name: option.choices for name, option in locust_options().items() if option.ours}
    else:
        known = {option.opts[0]: choices(option.type) for option in shown_options(title)}
    table = option_rows(title)
    untold = {
        name: missing
        for name, allowed in known.items()
        if (missing := [one for one in allowed if not _says(table[name], one)])
    }
    assert not untold


def _says(cells: list[str], name: str) -> bool:
    return bool(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", " ".join(cells)))


def _same(told: str, default: object) -> bool:
    if isinstance(default, Path) and default.is_absolute():
        return told == default.name
    if told == str(default):
        return True
    return isinstance(default, float) and seconds(told) == default


def test_the_table_of_settings_is_made_from_them() -> None:
    text = page("docs/commands.md")
    written = runpy.run_path(str(ROOT / "scripts" / "settings_table.py"))["written"]
    assert written(text) == text, "python scripts/settings_table.py writes it anew"


def test_every_stage_is_documented_with_its_priority() -> None:
    table = rows(page("docs/stages.md"))
    assert [name for name in table if name in (*STAGES, OTHER)] == [*STAGES, OTHER]
    for name, stage in STAGES.items():
        assert table[name][-1] == str(stage.priority), name


def test_every_issue_code_is_documented() -> None:
    assert set(rows(section(page("docs/results.md"), "Issues"))) == set(CODES)


def test_every_cause_is_documented_with_its_stages() -> None:
    told = rows(section(page("docs/results.md"), TITLE))
    assert tuple(told) == findings.CODES
    assert named(told["PREPROCESSING"][1]) == set(findings.PREPROCESS)
    assert named(told["TRANSPORT"][1]) == set(findings.TRANSPORT)
    assert named(told["ENSEMBLE_TENSORS"][1]) == set(findings.TENSORS)
    assert f"busy {findings.BUSY:.0%}".replace("%", " %") in told["IDLE_CORES"][2]
    assert f"{findings.FULL:.0%} full".replace("%", " %") in told["CLIENT"][2]


@pytest.mark.parametrize(
    ("title", "struct"),
    [
        *(
            ("manifest.json", Manifest),
            ("manifest.json", Source),
            ("manifest.json", Placed),
            ("samples.jsonl", Sample),
            ("energy.jsonl", EnergyRead),
            ("JSON report", Energy),
        ),
        *(("requests-PID.jsonl", each) for each in (Request, Span, Call)),
        *(("JSON report", each) for each in (Summary, StageTime, Latency, Issue, Finding)),
        ("manifest.json", Served),
        *(("JSON of a study", getattr(studied, name)) for name in ("Found", "Point", "Run")),
        ("JSON of a study", Fit),
        *(("A study's folder", each) for each in (kept.Asked, kept.Done)),
        *(("JSON of a curve", each) for each in (Curve, Point, Knee, Saturation)),
        *(("JSON of a rate that holds a latency", each) for each in (Found, Row)),
    ],
)
def test_every_field_is_documented(title: str, struct: type[msgspec.Struct]) -> None:
    told = named(section(page("docs/results.md"), title))
    assert set(struct.__struct_fields__) <= told


def test_every_field_of_ingested_statistics_is_documented() -> None:
    told = named(section(page("docs/ingest.md"), "Statistics"))
    assert {*ModelTable.__struct_fields__, *ModelTimes.__struct_fields__} <= told
    assert set(COMPUTING) <= named(section(page("docs/ingest.md"), "What a model computes"))


def test_every_column_of_the_trace_is_documented() -> None:
    assert {*KEYS, *EVENTS} <= named(section(page("docs/results.md"), "trace.csv"))


def test_every_schema_version_has_its_history_line() -> None:
    told = section(page("docs/results.md"), "Versions of the files")
    versions = [int(number) for number in re.findall(r"^\| (\d+) \|", told, re.MULTILINE)]
    assert versions == list(range(1, SCHEMA + 1))


def test_every_pipeline_is_documented() -> None:
    assert set(tasks.SHIPPED) <= rows(page("docs/models.md")).keys()
    assert set(tasks.SHIPPED) <= named(section(page("README.md"), "On your own"))
    assert set(tasks.SHIPPED) <= named(section(page("docs/commands.md"), "bench run"))


@pytest.mark.parametrize("name", DNNS)
def test_the_input_and_the_outputs_of_a_dnn_are_as_documented(name: str) -> None:
    dnn = DNNS[name]
    (row,) = [
        line
        for line in page("docs/models.md").splitlines()
        if re.match(rf"\|[^|]*\|[^|]*`{name}`", line)
    ]
    assert f"| {dnn.input.width}x{dnn.input.height} |" in row
    size = sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in dnn.outputs)
    assert f" {size:,} bytes" in row
    if name in [task.dnn.model for task in tasks.tasks()]:
        assert f"| {dnn.input.fit} |" in row


def test_wherever_depth_is_named_it_is_said_to_be_untrained() -> None:
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if "depth" in text:
            assert "untrained" in text, path


def test_everything_fetched_has_its_source_and_licence_in_the_readme() -> None:
    table = section(page("README.md"), "What it is made of")
    for name, member in MEMBERS.items():
        (row,) = [line for line in table.splitlines() if f"`{name}`" in line]
        _, origin, package, licence = [cell.strip() for cell in row.strip("|").split("|")]
        assert package.split()[0] == member.package.name
        assert origin
        assert licence


def test_every_topology_is_documented() -> None:
    text = page("docs/chains.md")
    told = rows(section(text, "With a broker"))
    assert list(told) == list(BROKERS)
    without = [name for name in TOPOLOGIES if name not in BROKERS]
    assert set(without) <= named(section(text, "Without a broker"))
    assert f" for {TAKEOVER_S:g} s" in section(text, "With a broker")
    assert f"more than {IN_FLIGHT} of them" in section(text, "With a broker")


def test_every_form_of_crops_is_documented_with_its_bytes() -> None:
    told = rows(section(page("docs/chains.md"), "How crops travel"))
    assert tuple(told) == ("--crops", *FORMS)
    for chain in tasks.chains():
        bytes_ = chain.second.input.height * chain.second.input.width * 3
        assert f"{bytes_:,} bytes" in told["raw"], chain.name
    assert f"quality {QUALITY}" in str(told["jpeg"])


def test_documented_bounds_are_the_real_ones() -> None:
    told = rows(section(page("docs/chains.md"), "Bounds"))
    assert told
    for name, cells in told.items():
        module, _, constant = name.rpartition(".")
        value = getattr(importlib.import_module(module), constant)
        number = cells[1].split()[0].replace(",", "")
        assert number == (value if isinstance(value, str) else f"{value:g}"), name


def test_every_setting_of_kafka_is_documented_with_its_value() -> None:
    text = section(page("docs/chains.md"), "Kafka")
    told = rows(text)
    clients = {
        name: str(value)
        for constant, table in vars(kafka_settings).items()
        if constant.isupper() and isinstance(table, dict)
        for name, value in table.items()
    }
    for name, value in clients.items():
        assert told[name][2] == value, name
    for name in kafka_settings.TUNED:
        assert told[name][1] != told[name][2], name
    for name, value in PROPERTIES.items():
        assert value in told[name][1:], name
    timeouts = {"session.timeout.ms": 1, "max.poll.interval.ms": 1, "heartbeat.interval.ms": 0.1}
    for name, part in timeouts.items():
        assert float(told[name][2]) == TAKEOVER_S * 1000 * part, name
    assert told.keys() == clients.keys() | PROPERTIES.keys() | timeouts.keys()
    assert f"{HEAP.removesuffix('m')} MB of heap" in text


def test_every_exit_code_is_documented() -> None:
    for name in ("README.md", "docs/commands.md"):
        codes = re.search(r"Exit codes[:.*]*\s*(0 fine.*?)\n", page(name))
        assert codes, name
        assert {int(code) for code in re.findall(r"\d+", codes[1])} >= set(EXIT_CODES)


def test_the_two_commands_come_first() -> None:
    block = re.search(r"^```\w*\n(.*?)^```", page("README.md"), re.MULTILINE | re.DOTALL)
    assert block
    assert [line.split("#")[0].strip() for line in block[1].splitlines()] == [
        "make demo",
        "make test",
    ]


@pytest.mark.parametrize("line", lines_of("bench"), ids=shown)
def test_bench_command_lines_parse(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").touch()
    name, *arguments = (
        word if word != OWN or line.words[0] in ("add", "remove") else "classification"
        for word in line.words
    )
    if name == "--version":
        return
    command = bench.get_command(click.Context(bench), name)
    assert command is not None
    try:
        command.make_context(name, arguments)
    except click.MissingParameter:
        assert not line.whole


@pytest.mark.parametrize("line", lines_of("python"), ids=shown)
def test_python_command_lines_parse(line: Line) -> None:
    assert line.words[:2] == ("-m", "pipelines.worker")
    try:
        worker.make_context(WORKER, list(line.words[2:]))
    except click.MissingParameter:
        assert not line.whole


@pytest.mark.parametrize("line", lines_of("locust"), ids=shown)
def test_locust_command_lines_parse(line: Line) -> None:
    assert line.words[:2] == ("-f", "bench/load.py")
    assert {word for word in line.words if word.startswith("-")} <= locust_options().keys()


@pytest.mark.parametrize("line", lines_of("make"), ids=shown)
def test_make_command_lines_parse(line: Line) -> None:
    done = run(("make", "-n", *line.words))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            known = [re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads]
            assert anchor in known, target


def test_every_page_is_reached_from_the_readme() -> None:
    docs = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert docs - set(re.findall(r"\(docs/([\w.-]+)\)", page("README.md"))) == set()


def test_every_room_is_in_the_architecture() -> None:
    told = {name for name in rows(page("docs/architecture.md")) if "/" in name}
    files = [
        path for package in ("bench", "pipelines") for path in (ROOT / package).glob("*/**/*.py")
    ]
    rooms = {str(path.parent.relative_to(ROOT)) for path in files}
    assert {name for name in told if (ROOT / name).is_dir()} == rooms


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_of_ours_that_are_named_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:bench|pipelines|tests|scripts)/[\w/]+(?:\.\w+)?", text):
        assert "NAME" in name or (ROOT / name).exists(), name


def test_commands_are_documented_in_the_order_of_the_help() -> None:
    heads = re.findall(r"^## (.+)$", page("docs/commands.md"), re.MULTILINE)
    assert [head for head in heads if head in TITLES] == TITLES


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout: git clone")
    found = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if not path.is_file() or b"\0" in (data := path.read_bytes()):
            continue
        text = data.decode(errors="replace")
        found += [f"{name}: {part}" for part in FORBIDDEN if part in text]
    assert not found
