"""What a gate has decided as text, Markdown, JSON, or JUnit XML: rendering only."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

from bench.compare.comparison import apart
from bench.compare.gate import INVALID, NOISY, REGRESSION, Decision, Gate
from bench.compare.measured import told
from bench.compare.randomization import LEVEL
from bench.ledger.units import ABSENT, clean, number
from bench.report import comparison, formats, run
from bench.report.formats import markdown_table, plain, text_table, wrap

HEADS = ("limit", "outcome", "A", "B", "B/A", f"{100 * LEVEL:.0f} % interval")


def render(gate: Gate, *, format: str) -> str:
    """Return what was decided in one of the FORMATS, without a newline at its end."""
    return FORMATS[format](gate)


def junit(gate: Gate) -> bytes:
    """Return it as JUnit XML: a test case of each threshold.

    A regression is a failure, what could not be told an error.
    """
    outcomes = [one.outcome for one in gate.decisions]
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
            why = one.why if one.outcome != INVALID else "; ".join(gate.doubts)
            found = ElementTree.SubElement(case, kind, type=one.outcome, message=clean(why))
            found.text = clean(gate.sentence)
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
    ratio, interval = ABSENT, ABSENT
    if one.ratio is not None and one.low is not None and one.high is not None:
        ratio, interval = apart(one.ratio, one.low, one.high)
    a = ABSENT if one.a is None else told(one.metric, one.a)
    return [one.threshold, one.outcome, a, told(one.metric, one.b), ratio, interval]


def _text(gate: Gate) -> str:
    lines = [*wrap(clean(gate.sentence)), ""]
    lines += [*text_table(HEADS, [_cells(one) for one in gate.decisions], texts=2), ""]
    for fact in facts(gate):
        lines += wrap(fact)
    if gate.comparison:
        lines += ["", comparison.render(gate.comparison, format="text")]
    if gate.run:
        lines += ["", run.render([gate.run], format="text")]
    return "\n".join(lines).rstrip()


def _markdown(gate: Gate) -> str:
    rows = []
    for one in gate.decisions:
        limit, outcome, *others = map(plain, _cells(one))
        rows.append([limit, f"**{outcome}**" if one.why else outcome, *others])
    blocks = [f"### {plain(gate.sentence)}", markdown_table(HEADS, rows, texts=2)]
    if said := facts(gate):
        blocks.append("\n".join(f"- {plain(fact)}" for fact in said))
    if gate.comparison:
        shown = comparison.render(gate.comparison, format="md")
        blocks.append(f"<details><summary>All that was measured</summary>\n\n{shown}\n\n</details>")
    if gate.run:
        shown = run.render([gate.run], format="md")
        blocks.append(f"<details><summary>All that was measured</summary>\n\n{shown}\n\n</details>")
    return "\n\n".join(blocks)


FORMATS: dict[str, Callable[[Gate], str]] = {"text": _text, "md": _markdown, "json": formats.json}
