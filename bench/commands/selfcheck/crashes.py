"""`bench selfcheck crashes`: how often a traced Triton crashes, with its shim and without.

Rounds of the same load alternate with the shim and without.
"""

import os
import shutil
from collections.abc import Mapping
from functools import partial

import click

from bench.commands.options import ONE
from bench.commands.selfcheck.rounds import Tick, take_turns
from bench.commands.selfcheck.traced_load import Counted, paused_by, stress
from bench.report.document import terminal
from bench.report.document.text import text_table
from pipelines import paths
from pipelines.errors import ServerError
from pipelines.servers.launch import trace_shim

PER_S = 400
"""About how many requests a second are made, to tell the time left."""


def table(kinds: Mapping[str, Counted]) -> list[str]:
    """Return a table of what came of each kind."""
    rows = []
    for kind, found in kinds.items():
        how = ", ".join(f"{count} {name}" for name, count in sorted(found.ended.items()))
        ended = found.ended.total()
        per_million = f"{ended / found.traced * 1e6:.1f}" if found.traced else "-"
        numbers = (found.requests, found.traced, found.changes, ended)
        rows.append([kind, *(f"{each:,}" for each in numbers), per_million, how])
    names = ("Triton", "requests", "traced", "changes", "ended", "per million traced", "by")
    return list(text_table(names, rows, texts=1))


KINDS = {"with the shim": True, "without": False}


@click.command()
@click.option("--users", type=ONE, default=16, help="Concurrent users.")
@click.option("--requests", type=ONE, default=100_000, help="Of each kind, at least.")
@click.option("--rounds", type=ONE, default=4, help="In which these are made, in turns.")
@click.option(
    "--toggle",
    "toggle_s",
    type=click.FloatRange(min=0),
    default=0.1,
    help="Seconds after which tracing is turned off and on again; 0: never.",
)
@click.option(
    "--pause",
    "pause_us",
    type=click.IntRange(0, 100_000),
    default=0,
    help="Microseconds between freeing a trace and unlocking it.",
)
@click.option("--only", type=click.Choice(list(KINDS)), help="One kind alone.")
def command(
    users: int, requests: int, rounds: int, toggle_s: float, pause_us: int, only: str | None
) -> None:
    """Count the crashes of a traced Triton, with its shim and without, at the same load."""
    if not trace_shim.preloading():
        raise ServerError("Triton runs without the shim here", hint=trace_shim.CURE)
    each, folder = -(-requests // rounds), paths.BUILD / "crashes" / str(os.getpid())
    found = {kind: Counted() for kind in KINDS if only in (None, kind)}

    def measured(tick: Tick, *, kind: str) -> None:
        asked = partial(stress, folder, requests=each, users=users, toggle_s=toggle_s)
        found[kind].add(asked(shim=KINDS[kind], tick=tick))
        click.echo("\n".join(table(found)), err=True)

    if pause_us:
        os.environ["LD_PRELOAD"] = str(paused_by(pause_us, folder))
    kinds = {kind: (each / PER_S, partial(measured, kind=kind)) for kind in found}
    try:
        take_turns(kinds, rounds=rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        terminal.show("\n".join(table(found)))
