"""`bench doctor`: what this machine can run and what is missing."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path

import click

from bench.prepare.doctor.checks import Check
from bench.prepare.doctor.host import examine
from bench.record.machine import machine, versions


def as_text(checks: list[Check], *, width: int = 100) -> str:
    """Return a table of the checks, each cure on lines below its check."""
    indent = " " * 26
    lines = []
    for check in checks:
        head = f"{check.name:<14}  {check.state:<8}  "
        lines += textwrap.wrap(head + check.detail, width, subsequent_indent=indent)
        if check.cure:
            lines += textwrap.wrap(f"{indent}cure: {check.cure}", width, subsequent_indent=indent)
    missing = sum(check.state == "missing" for check in checks)
    verdict = (
        f"{missing} of {len(checks)} checks failed" if missing else "everything needed is here"
    )
    return "\n".join([*lines, "", verdict])


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
    checks = examine(Path.cwd())
    healthy = all(check.state != "missing" for check in checks)
    if style == "json":
        facts = {"machine": machine(), "versions": versions(), "checks": list(map(asdict, checks))}
        click.echo(json.dumps({"healthy": healthy, **facts}, indent=2))
    else:
        click.echo(as_text(checks))
    if not healthy:
        raise SystemExit(1)
