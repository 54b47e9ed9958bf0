"""A new setting is one field: everything that reads or shows settings has it then."""

import shutil
import subprocess
from pathlib import Path

import pytest
from processes import PYTHON, ROOT, run

from pipelines.paths import ELSEWHERE, REPOSITORY

OWNER = Path("pipelines", "topologies", "scenario.py")
BEFORE = "    topology: Annotated[\n"
FIELD = """    crispness_s: Annotated[
        float, Setting("How crisp.", DURATION, default="3ms", rank=9)
    ] = 0.003
"""
SHOWN = """
import runpy
import msgspec
from locust.argument_parser import get_empty_argument_parser
from bench.commands import sides
from bench.commands.comparing import ab, gate
from bench.commands.measuring import curve, run
from bench.commands.options import scenario_options
from bench.generator import options
from bench.generator.spec import LoadSpec
from bench.compare.likeness import WORDS
from bench.ledger.grid.study import field_of, value_of
from bench.record.scenario import Settings, settings_of, title
from bench.runs.experiments.protocol import Documents, spoken
from pipelines.worker import command as worker

NAME, OPTION = "crispness_s", "--crispness"
groups = (run, curve, ab, gate)
for command in (*(group.command for group in groups), worker):
    (option,) = [one for one in command.params if OPTION in one.opts]
    assert option.help.startswith("How crisp."), command
    assert option.type.convert("7ms", option, None) == 0.007
assert value_of(field_of("crispness"), "7ms") == 0.007
parser = get_empty_argument_parser()
options.add_options(parser)
assert parser.parse_args([OPTION, "7ms"]).crispness == "7ms"
side = sides.read("b", "crispness=7ms", pipeline="classification", common={})
assert side.settings.crispness_s == 0.007
assert settings_of({}).crispness_s == 0.003
document = msgspec.json.encode(LoadSpec(scenario=side.settings))
assert msgspec.json.decode(document, type=LoadSpec).scenario == side.settings
assert '"crispness_s":0.007' in Documents([NAME]).worker(side.settings, "first")[-1]
assert WORDS["crispness"] == (NAME,)
assert spoken().settings[NAME]["option"] == OPTION
assert title(side.settings).endswith("0.007"), title(side.settings)
page = "| option | default | meaning | in `settings` |\\n|---|---|---|---|\\n"
assert "| `--crispness` | `3ms` | How crisp. | `crispness_s` |" in (
    runpy.run_path("scripts/settings_table.py")["written"](page)
)
print("all have it")
"""


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """A copy of the sources with one more field."""
    for name in ("bench", "pipelines", "scripts"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    owner = tmp_path / OWNER
    text = owner.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    owner.write_text(text.replace(BEFORE, FIELD + BEFORE), encoding="utf-8")
    return tmp_path


def run_in(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the copy's packages, and this checkout's models."""
    variables = {"PYTHONPATH": str(copy), ELSEWHERE: str(REPOSITORY)}
    return run((PYTHON, *arguments), folder=copy, variables=variables)


def test_a_new_setting_is_one_field(changed: Path) -> None:
    done = run_in(changed, "-W", "ignore", "-c", SHOWN)
    assert done.stdout.endswith("all have it\n"), done.stderr


def test_a_new_setting_reaches_the_manifest(changed: Path) -> None:
    arguments = ["run", "classification", "--transport", "fake", "--images", "small"]
    arguments += ["--warmup", "0", "--duration", "1s", "--crispness", "7ms", "--results", "results"]
    for name in ("build", "triton_repo"):
        (changed / name).symlink_to(ROOT / name)
    done = run_in(changed, "-m", "bench", *arguments)
    (manifest,) = changed.glob("results/*/manifest.json")
    assert '"crispness_s": 0.007' in manifest.read_text(encoding="utf-8"), done.stderr
