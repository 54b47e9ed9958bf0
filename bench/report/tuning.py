"""The report of a search for the best setting: what won and by how much, and all that was tried."""

from collections.abc import Iterator

from bench.ledger import units
from bench.ledger.quantiles import LEVEL
from bench.predict.tuning import FINAL, SCREEN, Heat, Tuned, named
from bench.report.document.blocks import Block, Document, Facts, Item, Items, Say, Table
from bench.report.document.written import written

WORDS = {SCREEN: "one round", FINAL: "against no change"}


def render(tuned: Tuned, *, format: str) -> str:
    """Return the report in one of the FORMATS. Raises VisiontaxError of another."""
    return written(document(tuned), format=format, data=lambda: tuned)


def document(tuned: Tuned) -> Document:
    """Return the report."""
    told = tuned.settings | {"users": units.count(int(tuned.settings.get("users", 1)), "user")}
    facts = [*units.phrases(told), tuned.machine]
    blocks: list[Block] = [Facts(list(filter(None, facts))), Say(_why(tuned))]
    command = " ".join(tuned.command)
    if tuned.changes:
        blocks.append(Items([Item(text="The setting that won", command=command)]))
    blocks.append(_table(tuned))
    blocks += [Say(one, "note") for one in _notes(tuned)]
    return Document(title="Tune", headline=headline(tuned), blocks=blocks)


def headline(tuned: Tuned) -> str:
    """Return what the reader learns."""
    if tuned.unfinished:
        return "The search was cut off: nothing is advised"
    if not tuned.changes or tuned.ratio is None:
        return "No setting is faster than the default beyond noise"
    return f"{named(tuned.changes)}: {units.quantile(tuned.ratio)} times the throughput"


def _why(tuned: Tuned) -> str:
    if tuned.unfinished:
        return "What won on its axis has not proved itself against the default yet."
    if tuned.changes:
        return "It proved itself by new runs, in turn with the default."
    if tuned.ratio is not None:
        said = units.quantile(tuned.ratio)
        return f"What won on its axis came to {said} times the default, which may be none."
    return "On no axis was a setting surely faster than the one in use."


def _table(tuned: Tuned) -> Table:
    rows = [row for heat in tuned.heats for row in _rows(heat)]
    heads = ["axis", "stage", "setting", "images/s", "mean ms", "times", "outcome"]
    return Table(name="tried", title="What was tried", heads=heads, rows=rows, texts=3)


def _rows(heat: Heat) -> Iterator[list[str]]:
    stage = WORDS.get(heat.stage, f"{len(heat.trials[0].per_s)} rounds")
    for one in heat.trials:
        ratio = heat.ratios.get(one.name)
        outcome = "in use" if one is heat.trials[0] else "no gain"
        if heat.won == one.name:
            outcome = "promising" if heat.stage == SCREEN else "won"
        elif one is not heat.trials[0] and ratio is None:
            outcome = "INVALID"
        per_s, mean_ms = _middle(one.per_s), _middle(one.mean_ms)
        times = units.number(ratio.value) if ratio and ratio.low is None else units.quantile(ratio)
        numbers = [units.number(per_s), units.number(mean_ms)]
        changed = one.changes.items() - heat.trials[0].changes.items()
        short = named(dict(sorted(changed))) if changed else "as before"
        yield [heat.axis, stage, short, *numbers, times if ratio else units.ABSENT, outcome]


def _middle(values: list[float | None]) -> float | None:
    known = sorted(one for one in values if one is not None)
    return known[(len(known) - 1) // 2] if known else None


def _notes(tuned: Tuned) -> Iterator[str]:
    yield (
        f"times: throughput over that of the setting in use, (low to high) by {100 * LEVEL:.0f} %; "
        "one round screens, new rounds judge, and a setting wins where low is above 1"
    )
    yield "what was fixed on the command line was not walked; whoever preprocesses is as given"
    if any("decode" in one for one in (tuned.changes, tuned.settings)):
        yield "scaled decoding changes answers; 'bench selfcheck decoding' says how often"
