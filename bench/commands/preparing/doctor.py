"""`bench doctor`: what this machine can run and what is missing."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path

import click

from bench.prepare.doctor.checks import examine
from bench.prepare.doctor.host import Check, Host

_WIDTH, _INDENT = 100, " " * 26


def as_text(checks: list[Check]) -> str:
    """Return a table of the checks, each cure on lines below its check."""
    lines = []
    for check in checks:
        lines.append(f"{check.name:<14}  {check.state:<8}  {check.detail}")
        lines += [f"{_INDENT}cure: {check.cure}"] if check.cure else []
    missing = sum(check.state == "missing" for check in checks)
    verdict = (
        f"{missing} of {len(checks)} checks failed" if missing else "everything needed is here"
    )
    wrapped = [textwrap.fill(line, _WIDTH, subsequent_indent=_INDENT) for line in lines]
    return "\n".join([*wrapped, "", verdict])


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
    host = Host(Path.cwd())
    checks = examine(host)
    healthy = all(check.state != "missing" for check in checks)
    if style == "json":
        facts = {"machine": host.facts, "versions": host.versions}
        found = {"healthy": healthy, **facts, "checks": list(map(asdict, checks))}
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo(as_text(checks))
    if not healthy:
        raise SystemExit(1)
