"""The report of a gate: what was decided and why, with all that was measured; and as JUnit XML."""

from typing import Any
from xml.etree import ElementTree

import msgspec

from bench.compare.gate import INVALID, NOISY, PASS, REGRESSION, Decision, Gate
from bench.compare.randomization import LEVEL
from bench.ledger.units import ABSENT, clean, count, number
from bench.report import comparison, run
from bench.report.document import written
from bench.report.document.blocks import Block, Document, Say, Section, Table

HEADS = ("limit", "outcome", "A", "B", "B/A", f"{100 * LEVEL:.0f} % interval")
WHYS = {
    "few": "{blocks} are too few",
    "requests": "too few requests: it needs {needs}",
    "beyond": "B/A is {about}",
    "chance": "B/A is {about}, which may well be chance",
    "wide": "B/A is {about}: no change, or one beyond the limit",
    "absolute": "it is {value}",
}
"""Why a decision is no pass."""


def why(one: Decision) -> str:
    """Return why a decision is no pass, empty of one."""
    if not one.why:
        return ""
    reason, *many = one.why
    about = "{} ({})".format(*comparison.apart(one.ratio, one.low, one.high))
    few, needs = (count(int(many[0]), "block"), f"{many[0]:,}") if many else ("", "")
    value = _value(one.metric, one.b)
    return WHYS[str(reason)].format(blocks=few, needs=needs, about=about, value=value)


def sentence(gate: Gate) -> str:
    """Return the answer: what was decided, and why it is no pass."""
    if gate.outcome == INVALID:
        return f"invalid: {'; '.join(map(comparison.told, gate.doubts))}"
    if gate.outcome == PASS:
        many = len(gate.decisions)
        return "pass: the limit is kept" if many == 1 else f"pass: all {many} limits are kept"
    told = [f"{one.threshold}: {why(one)}" for one in gate.decisions if one.outcome == gate.outcome]
    outcome = "too noisy to tell" if gate.outcome == NOISY else gate.outcome
    return f"{outcome}: {'; '.join(told)}"


def data(gate: Gate) -> dict[str, Any]:
    """Return what the JSON of a gate holds."""
    fields = msgspec.structs.asdict
    measured = gate.comparison and comparison.data(gate.comparison)
    return fields(gate) | {
        "sentence": sentence(gate),
        "decisions": [fields(one) | {"why": why(one)} for one in gate.decisions],
        "doubts": [*map(comparison.told, gate.doubts)],
        "comparison": measured,
    }


def _value(metric: str, value: float | None) -> str:
    """A value with its unit."""
    if metric.endswith("_share") and value is not None:
        return f"{number(100 * value)} %"
    return (
        ABSENT if value is None else f"{number(value)}{'/s' if metric == 'throughput' else ' ms'}"
    )


def render(gate: Gate, *, format: str) -> str:
    """Return what was decided in one of the FORMATS, without a newline at its end."""
    return written.written(document(gate), format=format, data=lambda: data(gate))


def junit(gate: Gate) -> bytes:
    """Return it as JUnit XML: a test case of each threshold.

    A regression is a failure, what could not be told an error.
    """
    outcomes = [one.outcome for one in gate.decisions]
    doubts = "; ".join(map(comparison.told, gate.doubts))
    suite = ElementTree.Element(
        "testsuite",
        name="bench gate",
        tests=str(len(outcomes)),
        failures=str(outcomes.count(REGRESSION)),
        errors=str(outcomes.count(NOISY) + outcomes.count(INVALID)),
    )
    for one in gate.decisions:
        case = ElementTree.SubElement(suite, "testcase", classname="gate", name=one.threshold)
        if one.outcome in (REGRESSION, NOISY, INVALID):
            kind = "failure" if one.outcome == REGRESSION else "error"
            told = why(one) if one.outcome != INVALID else doubts
            found = ElementTree.SubElement(case, kind, type=one.outcome, message=clean(told))
            found.text = clean(sentence(gate))
    written: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def facts(gate: Gate) -> list[str]:
    """Return what else there is to know, a sentence each."""
    found = []
    if gate.blamed:
        moved = gate.moved_ms[gate.blamed]
        part = gate.explained.get(gate.blamed)
        of_it = f", {100 * part:.0f} % of the difference of the means" if part else ""
        more = f"{'+' if moved > 0 else ''}{number(moved)} ms a request"
        found.append(f"{gate.blamed} is to blame: {more}{of_it}")
    if gate.noise is not None:
        found.append(f"noise: {100 * gate.noise:.1f} % from slice to slice")
    return found


def _cells(one: Decision) -> list[str]:
    values = (_value(one.metric, value) for value in (one.a, one.b))
    return [one.threshold, one.outcome, *values, *comparison.apart(one.ratio, one.low, one.high)]


def document(gate: Gate) -> Document:
    """Return its report."""
    limits = Table(name="limits", heads=HEADS, rows=[*map(_cells, gate.decisions)], texts=2)
    blocks: list[Block] = [limits, *map(Say, facts(gate))]
    measured: list[Block] = []
    if gate.comparison:
        measured = [Say(comparison.sentence(gate.comparison)), *comparison.blocks(gate.comparison)]
    elif gate.run:
        measured = run.section(gate.run, "run")
    if measured:
        title = "All that was measured"
        blocks.append(Section(title=title, name="measured", blocks=measured, folded=True))
    return Document(title="", headline=sentence(gate), blocks=blocks)
