"""Summaries as text, JSON, Markdown or a page: rendering only.

Every format shows the same rows and sentences (`bench.phrases`). Text fits 100 columns, and what a
name contains reaches neither the terminal nor the Markdown as anything but text.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from html import escape

import msgspec

from bench import phrases
from bench.page import render_html
from bench.stats import Issue, Summary
from pipelines.errors import ResultsError, VisiontaxError

WIDTH = 100


def render(summaries: list[Summary], *, format: str) -> str:
    """The report of one or several runs, without a newline at its end.

    Raises VisiontaxError when `format` is not one of FORMATS, and ResultsError when a name cannot
    be written as UTF-8.
    """
    if format not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise VisiontaxError(f"unknown report format {format!r}", hint=f"use one of: {known}")
    return FORMATS[format](summaries)


def _text(summaries: list[Summary]) -> str:
    if not summaries:
        return "no runs"
    if len(summaries) == 1:
        return _text_run(summaries[0], "run")
    titled = [(f"[{i}]", summary) for i, summary in enumerate(summaries, 1)]
    rows = [[title, *phrases.compare_row(summary)] for title, summary in titled]
    table = text_table(["run", *phrases.COMPARE_HEADS], rows, texts=5)
    first = "\n".join([f"{len(summaries)} runs; latencies in ms", "", *table])
    return "\n\n\n".join([first, *(_text_run(summary, title) for title, summary in titled)])


def _text_run(summary: Summary, title: str) -> str:
    head = [f"{title} {phrases.clean(summary.run)}", *phrases.settings(summary)]
    lines = [
        *wrap(" · ".join(head)),
        *wrap(" · ".join(phrases.outcome(summary))),
        *wrap(phrases.verdict(summary)),
    ]
    for issue in summary.issues:
        lines += _text_issue(issue)
    lines += ["", *wrap(phrases.breakdown(summary))]
    if not summary.stages:
        return "\n".join(lines)
    lines += ["", *text_table(phrases.STAGE_HEADS, phrases.stage_rows(summary.stages))]
    if summary.tail_stages:
        rows = phrases.stage_rows(summary.tail_stages, summary.stages)
        lines += ["", *wrap(f"What makes the tail ({phrases.tail_title(summary)})")]
        lines += [*wrap(phrases.tail_cause(summary)), "", *text_table(phrases.TAIL_HEADS, rows)]
    lines += ["", "times in ms a request"]
    for note in phrases.footnotes(summary):
        lines += wrap(note)
    return "\n".join(lines)


def _text_issue(issue: Issue) -> list[str]:
    mark = "INVALID" if issue.invalid else "warning"
    lines = wrap(f"  {mark} {phrases.clean(issue.code)}: {phrases.clean(issue.message)}")
    return lines + (wrap(f"    hint: {phrases.clean(issue.hint)}") if issue.hint else [])


def wrap(line: str) -> list[str]:
    """Return the line in lines that fit, the later ones indented."""
    indent = " " * (len(line) - len(line.lstrip()))
    kept = line.replace(" %", "\xa0%")
    lines = textwrap.wrap(kept, WIDTH, subsequent_indent=indent + "  ", break_on_hyphens=False)
    return [line.replace("\xa0%", " %") for line in lines]


def text_table(heads: Sequence[str], rows: list[list[str]], *, texts: int = 1) -> list[str]:
    """Return aligned lines; the first `texts` columns are text, and are cut until they fit."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else " "
    spare = WIDTH - sum(widths[texts:]) - len(gap) * (len(widths) - 1)
    while sum(widths[:texts]) > spare and max(widths[:texts]) > 2:
        widths[widths.index(max(widths[:texts]))] -= 1
    lines = []
    for row in [heads, ["-" * width for width in widths], *rows]:
        cells = [
            _cut(cell, width).ljust(width) if i < texts else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(gap.join(cells).rstrip())
    return lines


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def _markdown(summaries: list[Summary]) -> str:
    if not summaries:
        return "No runs."
    if len(summaries) == 1:
        return f"### Run {_code(summaries[0].run)}\n\n" + _markdown_run(summaries[0])
    rows = [
        [_code(summary.run), *map(plain, phrases.compare_row(summary))] for summary in summaries
    ]
    rows = [[*row[:-1], "**INVALID**" if row[-1] == "INVALID" else row[-1]] for row in rows]
    heads = ["run", *phrases.COMPARE_HEADS]
    blocks = [f"### {len(summaries)} runs", markdown_table(heads, rows, texts=5), "Times in ms."]
    for summary in summaries:
        run, verdict = _quoted(summary.run), phrases.verdict(summary)
        blocks.append(
            f"<details{'' if summary.valid else ' open'}>"
            f"<summary><code>{run}</code> {verdict}</summary>\n\n"
            f"{_markdown_run(summary)}\n\n</details>"
        )
    return "\n\n".join(blocks)


def _markdown_run(summary: Summary) -> str:
    facts = [*phrases.settings(summary), *phrases.outcome(summary)]
    blocks = [" · ".join(map(plain, facts)), f"**{phrases.verdict(summary)}**"]
    if summary.issues:
        blocks.append("\n".join(map(_markdown_issue, summary.issues)))
    blocks.append(plain(phrases.breakdown(summary)))
    if summary.stages:
        blocks.append(_markdown_stages(phrases.STAGE_HEADS, phrases.stage_rows(summary.stages)))
    if summary.tail_stages:
        rows = phrases.stage_rows(summary.tail_stages, summary.stages)
        blocks += [
            f"**What makes the tail** ({plain(phrases.tail_title(summary))}): "
            + plain(phrases.tail_cause(summary)),
            _markdown_stages(phrases.TAIL_HEADS, rows),
        ]
    if summary.stages:
        notes = ["Times in ms a request", *phrases.footnotes(summary)]
        blocks.append("<sub>" + ". ".join(map(plain, notes)) + ".</sub>")
    return "\n\n".join(blocks)


def _markdown_issue(issue: Issue) -> str:
    mark = "**INVALID**" if issue.invalid else "warning"
    hint = f" _Hint:_ {plain(issue.hint)}" if issue.hint else ""
    return f"- {mark} {_code(issue.code)}: {plain(issue.message)}{hint}"


def _markdown_stages(heads: Sequence[str], rows: list[list[str]]) -> str:
    return markdown_table(heads, [list(map(plain, row)) for row in rows], texts=1)


def markdown_table(heads: Sequence[str], rows: list[list[str]], *, texts: int) -> str:
    """Return a table whose first `texts` columns are words, the others numbers."""
    rule = [":--" if i < texts else "--:" for i in range(len(heads))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [heads, rule, *rows])


def plain(text: str) -> str:
    """Return text that GitHub shows as it is: no markup, no tag, no mention."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", _quoted(text))


def _quoted(text: str) -> str:
    """Text inside a tag, where Markdown is HTML; GitHub would still link names and addresses."""
    safe = escape(phrases.clean(text), quote=False)
    return safe.replace("@", "@&#8203;").replace("://", "&#58;//")


def _code(text: str) -> str:
    return f"<code>{plain(text)}</code>"


def _json(summaries: list[Summary]) -> str:
    try:
        packed = msgspec.json.encode(summaries[0] if len(summaries) == 1 else summaries)
    except UnicodeEncodeError as error:
        raise ResultsError(
            f"a name in the results is not valid Unicode: {error}",
            hint="rename the results folder in UTF-8",
        ) from error
    text = msgspec.json.format(packed, indent=2).decode()
    # JSON lets through the control characters above ASCII, and some terminals obey those.
    return re.sub("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]", lambda m: f"\\u{ord(m[0]):04x}", text)


FORMATS: dict[str, Callable[[list[Summary]], str]] = {
    "text": _text,
    "json": _json,
    "md": _markdown,
    "html": render_html,
}
