"""The one engine of studies: makes the run of each cell in each round, in random order.

Cells that need another server, of another size or device, have it in turn: within a round those
with the same one follow each other. A cell whose run cannot be made is on record, and the others go
on: where the server is gone that was measured, with what they need started again.
"""

import itertools
from collections.abc import Iterator, Sequence

import click

from bench.ledger.grid.cells import Cell, groups_of
from bench.ledger.grid.kept import Done, Kept
from bench.ledger.units import clean, count, readable
from bench.record.scenario import Settings
from bench.runs.equipment import equipped, kit, service_of
from bench.runs.order import in_turn
from bench.runs.progress import Progress
from bench.runs.run import Plan, check_alive, execute, length_s
from pipelines.errors import ResultsError, ServerError, VisiontaxError
from pipelines.servers import device, kafka
from pipelines.servers.apps import start as apps

START_S = 10.0
"""About how long a server takes to end, and the next one to start."""

Turn = tuple[int, Cell]
"""A round, from 1, and a cell."""


def lacking(settings: Settings) -> VisiontaxError | None:
    """Return why this machine cannot make a run with these settings, None where it can."""
    try:
        on = device.parse(settings.device)
        device.require(on)
        if settings.place == "server-gpu" and not on.gpus:
            device.require(device.parse("gpu"))
            raise ServerError(
                "the place server-gpu is of a server on a GPU", hint="say --set device=gpu"
            )
        if settings.named:
            apps.check(settings.served_by)
        if settings.brokered and not settings.broker and service_of(settings) == "kafka":
            kafka.check_installed()
    except VisiontaxError as error:
        return error
    return None


def turns(kept: Kept) -> list[Turn]:
    """Return what is still to be run, in the order that the seed gives: in each round every cell,
    those with the same server one after the other, and among them those that are compared with each
    other.
    """
    rounds = kept.asked.study.rounds
    order = in_turn(groups_of(kept.cells), rounds=rounds, seed=kept.asked.seed)
    made = {(one.cell, one.round) for one in kept.done if one.run}
    return [
        (round, cell)
        for round, cells in enumerate(_rounds(order, each=len(kept.cells)), start=1)
        for cell in cells
        if (cell.name, round) not in made and cell.name not in kept.asked.lacking
    ]


def _rounds(order: Sequence[Cell], *, each: int) -> Iterator[list[Cell]]:
    """Bring those of a round together that have the same server, in the order of the first ones."""
    for start in range(0, len(order), each):
        cells = order[start : start + each]
        kits = list(dict.fromkeys(kit(cell.settings) for cell in cells))
        yield sorted(cells, key=lambda cell: kits.index(kit(cell.settings)))


def starts(left: Sequence[Turn]) -> int:
    """Return how often a server is started for these runs."""
    return sum(1 for _ in itertools.groupby(left, key=_kit))


def _kit(turn: Turn) -> tuple[object, ...]:
    return kit(turn[1].settings)


def expected_s(kept: Kept, left: Sequence[Turn]) -> float:
    """Return about how long these runs take, with the starts of servers between them."""
    runs_s = sum(length_s(cell.settings, kept.duration_s) for _, cell in left)
    return runs_s + START_S * max(0, starts(left) - 1)


def conduct(kept: Kept) -> None:
    """Make the runs that are lacking; each is on record before the next one begins.

    Shows progress and the time left on stderr. Raises VisiontaxError when nothing can be started
    that cells need, and ResultsError when nothing can be written.
    """
    left = turns(kept)
    with Progress(expected_s(kept, left)) as progress:
        while left:
            left = _stand(kept, left, progress)


def _stand(kept: Kept, left: Sequence[Turn], progress: Progress) -> list[Turn]:
    """Make the first of these runs, those with the same server; return what is left then, or when
    the server is gone.
    """
    possible = [cell for cell in kept.cells if cell.name not in kept.asked.lacking]
    many = len(possible) * kept.asked.study.rounds
    here = list(next(iter(itertools.groupby(left, key=_kit)))[1])
    with equipped([cell.settings for _, cell in here]) as addressed:
        for at, ((round, cell), settings) in enumerate(zip(here, addressed, strict=True)):
            number = many - len(left) + at + 1
            progress.step(
                f"[{number}/{many}] {cell.name}", seconds=length_s(cell.settings, kept.duration_s)
            )
            plan = Plan(settings, kept.duration_s, results=kept.folder)
            try:
                run = execute(plan, tick=progress.tick)
                kept.add(Done(cell=cell.name, round=round, run=run.name))
            except ResultsError:  # the next one could not be written either
                raise
            except VisiontaxError as error:
                kept.add(Done(cell=cell.name, round=round, error=str(error)))
                _warn(progress, f"{cell.name}: {error}")
            progress.done()
            try:
                check_alive(settings)
            except VisiontaxError as error:
                _warn(progress, f"{error}; it is started again")
                return list(left[at + 1 :])
    return list(left[len(here) :])


def _warn(progress: Progress, said: str) -> None:
    progress.clear()
    click.echo(f"warning: {clean(said)}", err=True)


def plan(kept: Kept) -> list[str]:
    """Return what is to be run, in lines."""
    left = turns(kept)
    cells = {cell.name: cell for _, cell in left}
    rounds = kept.asked.study.rounds
    said = f"{count(len(left), 'run')} of {count(len(cells), 'cell')} in {count(rounds, 'round')}"
    again = starts(left) - 1
    said += f", {count(again, 'restart')} of the server" if again > 0 else ""
    lines = [*cells, "", f"{said}, about {readable(expected_s(kept, left))}"]
    why = sorted(set(kept.asked.lacking.values()))
    return lines + [f"left out on this machine: {one}" for one in why]
