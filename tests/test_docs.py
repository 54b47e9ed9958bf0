"""The docs say what the code says: names, options, command lines, links. Needs no server."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import pytest

from bench.cli import COMMANDS, bench
from bench.durations import seconds
from bench.results import SCHEMA, Manifest, Sample, Settings
from bench.servertrace import EVENTS, KEYS
from bench.stats import Issue, Latency, StageTime, Summary
from bench.verdict import CODES
from pipelines.spans import OTHER, STAGES, Request, Span

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "results" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXIT_CODES = (0, 1, 2, 4)
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
NOT_IN_LOCUST = {"users", "duration", "server", "format"}


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


def options(name: str) -> list[str]:
    command = bench.get_command(click.Context(bench), name)
    assert command is not None
    return [
        option
        for param in command.params
        if isinstance(param, click.Option) and not param.hidden
        for option in (*param.opts, *param.secondary_opts)
    ]


def table_options(text: str) -> set[str]:
    return {name for name in rows(text) if name.startswith("--")}


@cache
def locust_options() -> dict[str, bool]:
    """Every option that `locust -f bench/load.py` takes, and whether it is one of ours.

    Asked of a child process: importing Locust patches the standard library, and its --help leaves
    out what a locustfile adds.
    """
    code = (
        "import argparse, json, locust.argument_parser as a\n"
        "def known():\n"
        "    shown = [x for x in a.get_parser()._actions if x.help != argparse.SUPPRESS]\n"
        "    return [option for x in shown for option in x.option_strings]\n"
        "its = known()\n"
        "import bench.load\n"
        "print(json.dumps({option: option not in its for option in known()}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    return msgspec.json.decode(done.stdout, type=dict[str, bool])


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
            for line in block.splitlines():
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


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    told = table_options(section(page("docs/commands.md"), f"bench {name}"))
    assert told == set(options(name))


def test_every_locust_option_of_ours_is_documented() -> None:
    told = table_options(section(page("docs/commands.md"), "locust -f bench/load.py"))
    ours = {option for option, is_ours in locust_options().items() if is_ours}
    assert told == ours | {"--host"}


def test_locust_takes_the_names_of_bench_run() -> None:
    expected = {option for option in options("run") if option.strip("-") not in NOT_IN_LOCUST}
    assert expected <= locust_options().keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_documented_defaults_are_the_real_ones(name: str) -> None:
    command = bench.get_command(click.Context(bench), name)
    assert command is not None
    table = rows(section(page("docs/commands.md"), f"bench {name}"))
    for param in command.params:
        default = param.to_info_dict()["default"]
        if not isinstance(param, click.Option) or default is None or param.is_flag:
            continue
        told = table[param.opts[0]][1].strip("`")
        assert _same(told, default), f"{param.opts[0]}: {told!r} is documented for {default!r}"


def _same(told: str, default: object) -> bool:
    if isinstance(default, Path) and default.is_absolute():
        return told == default.name
    if told == str(default):
        return True
    return isinstance(default, float) and seconds(told) == default


def test_every_stage_is_documented_with_its_priority() -> None:
    table = rows(page("docs/stages.md"))
    assert [name for name in table if name in (*STAGES, OTHER)] == [*STAGES, OTHER]
    for name, stage in STAGES.items():
        assert table[name][-1] == str(stage.priority), name


def test_every_issue_code_is_documented() -> None:
    assert set(rows(section(page("docs/results.md"), "Issues"))) == set(CODES)


@pytest.mark.parametrize(
    ("title", "struct"),
    [
        *(("manifest.json", Manifest), ("manifest.json", Settings), ("samples.jsonl", Sample)),
        *(("requests-PID.jsonl", Request), ("requests-PID.jsonl", Span)),
        *(("JSON report", each) for each in (Summary, StageTime, Latency, Issue)),
    ],
)
def test_every_field_is_documented(title: str, struct: type[msgspec.Struct]) -> None:
    told = named(section(page("docs/results.md"), title))
    assert set(struct.__struct_fields__) <= told


def test_every_column_of_the_trace_is_documented() -> None:
    assert {*KEYS, *EVENTS} <= named(section(page("docs/results.md"), "trace.csv"))


def test_every_schema_version_has_its_history_line() -> None:
    told = section(page("docs/results.md"), "Versions of the files")
    versions = [int(number) for number in re.findall(r"^\| (\d+) \|", told, re.MULTILINE)]
    assert versions == list(range(1, SCHEMA + 1))


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
def test_bench_command_lines_parse(line: Line) -> None:
    name, *arguments = line.words
    if name == "--version":
        return
    command = bench.get_command(click.Context(bench), name)
    assert command is not None
    try:
        command.make_context(name, arguments)
    except click.MissingParameter:
        assert not line.whole


@pytest.mark.parametrize("line", lines_of("locust"), ids=shown)
def test_locust_command_lines_parse(line: Line) -> None:
    assert line.words[:2] == ("-f", "bench/load.py")
    assert {word for word in line.words if word.startswith("-")} <= locust_options().keys()


@pytest.mark.parametrize("line", lines_of("make"), ids=shown)
def test_make_command_lines_parse(line: Line) -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-n", *line.words],
        cwd=ROOT,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
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


def test_no_tracked_file_names_a_machine_or_a_registry() -> None:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout")
    found = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if not path.is_file() or b"\0" in (data := path.read_bytes()):
            continue
        text = data.decode(errors="replace")
        found += [f"{name}: {part}" for part in FORBIDDEN if part in text]
    assert not found
