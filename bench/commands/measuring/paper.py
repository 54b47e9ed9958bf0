"""`bench paper`: the studies behind the claims of "Beyond Inference", and what they say to each."""

import functools
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from bench.commands.measuring.study import conduct, looked_at, write
from bench.commands.options import results_option
from bench.commands.show import resumable, show_found
from bench.ledger import units
from bench.ledger.grid import study as studies
from bench.ledger.grid.claims import CLAIMS, REPRODUCED, UNTESTED, Answer, Claim, answer
from bench.ledger.grid.kept import Kept
from bench.record import folders
from bench.report.document.blocks import Block, Document, Item, Items, Say
from bench.report.document.written import FORMATS, written
from pipelines.errors import ResultsError, VisiontaxError

ROUNDS = 3


@click.command()
@click.option("--quick", is_flag=True, help="One short round: shows how it goes, and tests little.")
@click.option("--seed", type=click.IntRange(0), default=1, help="Of the order, and of the images.")
@results_option
@click.option("--format", type=click.Choice(FORMATS), default="text")
@click.option(
    "--resume", type=click.Path(path_type=Path), help="Go on with one that was cut off: its folder."
)
def command(*, quick: bool, seed: int, folder: Path, format: str, resume: Path | None) -> int:
    """Test what "Beyond Inference" (DAC 2024) claims: the paper's figure, and this machine's.

    Runs the studies zero-load, overhead and ladder on the images that the claims are of.
    """
    if resume and not resume.is_dir():
        raise ResultsError(f"there is no folder {resume}")
    into = resume or folders.new_folder(folder, "paper")
    answers: list[Answer] = []
    try:
        with resumable(f"the same command and --resume {into}"):
            for claim in CLAIMS:
                answers.append(_answer(claim, into, quick=quick, seed=seed))
    finally:
        if answers:
            told = functools.partial(written, document(answers), data=lambda: answers)
            show_found(into, "paper", told, format=format)
    return 0


def _answer(claim: Claim, into: Path, *, quick: bool, seed: int) -> Answer:
    """Run the claim's study, or what is lacking of it, and return what it says."""
    begun = sorted(into.glob(f"*-study-{claim.study}"))
    if begun:
        kept = Kept.read(begun[0])
    else:
        asked = studies.find(claim.study)[1]
        asked = studies.quickened(asked) if quick else asked
        asked = studies.with_values(asked, claim.given)
        if not quick:
            asked = msgspec.structs.replace(asked, rounds=ROUNDS)
        try:
            kept = Kept.begun(into, looked_at(claim.study, asked, seed=seed))
        except ResultsError:
            raise
        except VisiontaxError as error:
            return untested(claim, str(error))
    click.echo(f"{claim.said}: {claim.figure}?", err=True)
    conduct(kept)
    found, shown = kept.found()
    write(kept, found, shown)
    return answer(claim, found)


def untested(claim: Claim, why: str) -> Answer:
    """Return that the claim cannot be tested here, and why."""
    return Answer(
        **{name: getattr(claim, name) for name in ("said", "figure", "unit", "study")},
        outcome=UNTESTED,
        ours=None,
        cell="",
        settings={},
        machine="",
        why=why,
    )


def _ours(one: Answer) -> str:
    return f"{units.quantile(one.ours)} {one.unit}" if one.ours else "-"


def _where(one: Answer) -> str:
    if one.ours is None:
        return one.why
    told = [f"{one.study}: {one.cell}", *units.phrases(one.settings), one.machine]
    return "; ".join(filter(None, [" · ".join(told), one.why]))


NOTE = (
    "(low to high): from the least to the most of the runs. The paper's setting is another one, a "
    "server with a GPU; here is the cell that shows the effect most"
)


def document(answers: Sequence[Answer]) -> Document:
    """Return the report of what each claim comes to."""
    items = [
        Item(
            text=one.said,
            more=f"the paper: {one.figure}; here: {_ours(one)}: {one.outcome}; {_where(one)}",
        )
        for one in answers
    ]
    seen = sum(one.outcome == REPRODUCED for one in answers)
    headline = f"{seen} of {units.count(len(answers), 'claim')} reproduced here"
    blocks: list[Block] = [Items(items, numbered=True), Say(NOTE, "note")]
    return Document(title="Beyond Inference (DAC 2024)", headline=headline, blocks=blocks)
