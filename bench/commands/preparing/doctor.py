"""`bench doctor`: what this machine can run and what is missing."""

import textwrap

import click

from bench.prepare.doctor.checks import examine
from bench.prepare.doctor.host import Check, Host
from bench.record.files import as_json
from bench.report.document import terminal
from bench.report.document.text import text_table
from pipelines import paths

_FOUND_WIDTH = 74
"""Columns that are left beside the longest names."""


def as_text(checks: list[Check]) -> str:
    """Return a table of the checks, each cure on lines below its check."""
    rows = []
    for check in checks:
        said = [check.detail, *([f"cure: {check.cure}"] if check.cure else [])]
        lines = [line for one in said for line in textwrap.wrap(one, _FOUND_WIDTH)]
        firsts = [(check.name, check.state), *[("", "")] * (len(lines) - 1)]
        rows += [[*first, line] for first, line in zip(firsts, lines, strict=True)]
    missing = sum(check.state == "missing" for check in checks)
    verdict = (
        f"{missing} of {len(checks)} checks failed" if missing else "everything needed is here"
    )
    return "\n".join([*text_table(("check", "state", "found"), rows, texts=3), "", verdict])


@click.command("doctor")
@click.option(
    "--format",
    "style",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="A table to read, or JSON for programs.",
)
def command(style: str) -> None:
    """Say what this machine can run, what is missing, and its cure.

    Exits 1 when something necessary is missing.
    """
    host = Host(paths.ROOT)
    checks = examine(host)
    healthy = all(check.state != "missing" for check in checks)
    if style == "json":
        facts = {"machine": host.facts, "versions": host.versions, "checks": checks}
        click.echo(as_json({"healthy": healthy, **facts}))
    else:
        terminal.show(as_text(checks))
    if not healthy:
        raise SystemExit(1)
