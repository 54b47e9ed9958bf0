"""The sentences of a study's report: what it found, of what, what is lacking, what numbers mean."""

from bench.ledger import units
from bench.ledger.grid.fit import Fit
from bench.ledger.grid.found import Found
from bench.ledger.grid.measures import measure
from bench.ledger.quantiles import LEVEL
from bench.record.scenario import TENSOR
from bench.report.document.blocks import DOUBT
from bench.report.study.tables import beside_valid, named_by, times_head

FEW = ", of fewer than six runs from the least to the most"


def headline(found: Found) -> str:
    """Return what the reader learns, from the points that can be trusted: of the throughput of what
    they are compared with, or of the first measure.
    """
    asked = found.shown[0]
    trusted = [
        value.value
        for point in found.points
        if point.valid and (value := point.values[asked.name]) and value.value is not None
    ]
    said = asked.said
    if found.beside:
        said = f"{{}} % of the throughput of {beside(found)} comes through"
        trusted = [
            100 * point.of_beside
            for point in found.points
            if point.of_beside and point.cell != point.beside and beside_valid(found, point)
        ]
    if not trusted:
        any_valid = any(point.valid for point in found.points)
        if any_valid and asked.absent != units.ABSENT:
            return f"{asked.title}: {asked.absent}"
        return "There is nothing to show" if any_valid else "INVALID: no number here can be trusted"
    ends = dict.fromkeys(map(units.number, (min(trusted), max(trusted))))
    return said.format(" to ".join(ends))


def facts(found: Found) -> list[str]:
    """Return what all runs share, and how many there are, one phrase each."""
    counts = sorted({len(point.runs) for point in found.points})
    ends = dict.fromkeys(counts[:1] + counts[-1:])
    runs = "1 run" if counts == [1] else f"median of {' to '.join(map(str, ends))} runs"
    return [*units.phrases(found.settings), f"{runs} a cell", found.machine]


def doubts(found: Found) -> list[str]:
    """Return what is wrong or lacking, a sentence each."""
    amount = sum(not run.valid for run in found.runs)
    said = []
    if amount:
        said.append(
            f"{amount} of {units.count(len(found.runs), 'run')} INVALID: the numbers marked "
            f"{DOUBT} cannot be trusted; 'bench report RUN' says why"
        )
    said += [f"no run of {name}: {error}" for name, error in found.failed.items()]
    said += [f"no counter of energy for {why}" for why in found.uncounted]
    return said + [f"left out on this machine: {why}" for why in found.lacking]


def notes(found: Found) -> list[str]:
    """Return what the numbers mean, a sentence each."""
    said = [one.note for one in found.shown if one.note]
    if any(one.quantile for one in found.shown):
        several = any(len(point.runs) > 1 for point in found.points)
        of = "the median of the runs' quantiles is" if several else "the quantile is"
        said.append(f"(low to high): where {of} by {100 * LEVEL:.0f} %{FEW if several else ''}")
    if found.beside:
        named, like = named_by(found.beside), beside(found)
        said.append(f"of {named} %: images/s over that of {like}, all else alike")
    for name, where in found.alone.items():
        own = "" if name == "throughput" else "its "
        said.append(
            f"{times_head(found, name)}: {own}{measure(name).head} over that of "
            f"{named_by(where)}, all else alike"
        )
    said += [_line(found, one) for one in found.fits]
    if found.fits:
        said.append("R²: the part of the variance that a line by least squares explains")
    return [*said, *([found.note] if found.note else [])]


def _line(found: Found, fit: Fit) -> str:
    """`decode: 11.2 ms a megapixel + 0.4 ms, R² 0.998 (users 1, 5 cells)`."""
    of, against = measure(fit.measure), measure(fit.against)
    at = [f"{axis} {label}" for axis, label in fit.at.items() if axis in found.axes]
    sign, rest = "-" if fit.intercept < 0 else "+", units.number(abs(fit.intercept))
    at.append(units.count(len(fit.cells), "cell"))
    slope = f"{units.number(fit.slope)} {of.unit} x {against.unit} {sign} {rest} {of.unit}"
    return f"{of.title} = {slope}, R² {units.number(fit.r2)} ({', '.join(at)})"


def beside(found: Found) -> str:
    """Return what the cells are compared with."""
    named = named_by(found.beside)
    return "inference alone" if named == TENSOR else named
