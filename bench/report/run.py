"""Summaries as text, JSON, Markdown or a page: rendering only.

Every format shows the same rows and sentences (`words`). Text fits 100 columns, and what a name
contains reaches neither the terminal nor the Markdown as anything but text.
"""

from collections.abc import Callable, Sequence

from bench.ledger import units
from bench.ledger.summary import Issue, Summary
from bench.report import formats, words
from bench.report.formats import code, markdown_table, plain, quoted, text_table, wrap
from bench.report.page import render_html
from pipelines.errors import VisiontaxError


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
    rows = [[title, *words.compare_row(summary)] for title, summary in titled]
    table = text_table(["run", *words.COMPARE_HEADS], rows, texts=5)
    first = "\n".join([f"{len(summaries)} runs; latencies in ms", "", *table])
    return "\n\n\n".join([first, *(_text_run(summary, title) for title, summary in titled)])


def _text_run(summary: Summary, title: str) -> str:
    head = [f"{title} {units.clean(summary.run)}", *units.phrases(units.settings(summary))]
    lines = [
        *wrap(" · ".join(head)),
        *wrap(" · ".join(words.outcome(summary))),
        *wrap(words.verdict(summary)),
    ]
    for issue in summary.issues:
        lines += _text_issue(issue)
    lines += ["", *wrap(words.breakdown(summary))]
    if not summary.stages:
        return "\n".join(lines)
    lines += ["", *text_table(words.STAGE_HEADS, words.stage_rows(summary.stages))]
    if summary.tail_stages:
        rows = words.stage_rows(summary.tail_stages, summary.stages)
        lines += ["", *wrap(f"What makes the tail ({words.tail_title(summary)})")]
        lines += [*wrap(words.tail_cause(summary)), "", *text_table(words.TAIL_HEADS, rows)]
    if summary.mix:
        lines += ["", words.MIX, "", *text_table(words.MIX_HEADS, words.mix_rows(summary))]
    lines += ["", "times in ms a request"]
    for note in words.footnotes(summary):
        lines += wrap(note)
    return "\n".join(lines)


def _text_issue(issue: Issue) -> list[str]:
    mark = "INVALID" if issue.invalid else "warning"
    lines = wrap(f"  {mark} {units.clean(issue.code)}: {units.clean(issue.message)}")
    return lines + (wrap(f"    hint: {units.clean(issue.hint)}") if issue.hint else [])


def _markdown(summaries: list[Summary]) -> str:
    if not summaries:
        return "No runs."
    if len(summaries) == 1:
        return f"### Run {code(summaries[0].run)}\n\n" + _markdown_run(summaries[0])
    rows = [[code(summary.run), *map(plain, words.compare_row(summary))] for summary in summaries]
    rows = [[*row[:-1], "**INVALID**" if row[-1] == "INVALID" else row[-1]] for row in rows]
    heads = ["run", *words.COMPARE_HEADS]
    blocks = [f"### {len(summaries)} runs", markdown_table(heads, rows, texts=5), "Times in ms."]
    for summary in summaries:
        head = f"<code>{quoted(summary.run)}</code> {words.verdict(summary)}"
        folded = f"<details{'' if summary.valid else ' open'}><summary>{head}</summary>"
        blocks.append(f"{folded}\n\n{_markdown_run(summary)}\n\n</details>")
    return "\n\n".join(blocks)


def _markdown_run(summary: Summary) -> str:
    facts = [*units.phrases(units.settings(summary)), *words.outcome(summary)]
    blocks = [" · ".join(map(plain, facts)), f"**{words.verdict(summary)}**"]
    if summary.issues:
        blocks.append("\n".join(map(_markdown_issue, summary.issues)))
    blocks.append(plain(words.breakdown(summary)))
    if summary.stages:
        blocks.append(_markdown_stages(words.STAGE_HEADS, words.stage_rows(summary.stages)))
    if summary.tail_stages:
        rows = words.stage_rows(summary.tail_stages, summary.stages)
        blocks += [
            f"**What makes the tail** ({plain(words.tail_title(summary))}): "
            + plain(words.tail_cause(summary)),
            _markdown_stages(words.TAIL_HEADS, rows),
        ]
    if summary.mix:
        table = _markdown_stages(words.MIX_HEADS, words.mix_rows(summary))
        blocks += [f"**{words.MIX}**", table]
    if summary.stages:
        notes = ["Times in ms a request", *words.footnotes(summary)]
        blocks.append("<sub>" + ". ".join(map(plain, notes)) + ".</sub>")
    return "\n\n".join(blocks)


def _markdown_issue(issue: Issue) -> str:
    mark = "**INVALID**" if issue.invalid else "warning"
    hint = f" _Hint:_ {plain(issue.hint)}" if issue.hint else ""
    return f"- {mark} {code(issue.code)}: {plain(issue.message)}{hint}"


def _markdown_stages(heads: Sequence[str], rows: list[list[str]]) -> str:
    return markdown_table(heads, [list(map(plain, row)) for row in rows], texts=1)


FORMATS: dict[str, Callable[[list[Summary]], str]] = {
    "text": _text,
    "json": lambda runs: formats.json(runs[0] if len(runs) == 1 else runs),
    "md": _markdown,
    "html": render_html,
}
