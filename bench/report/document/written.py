"""A document in the format that is asked for."""

from collections.abc import Callable
from typing import Any

from bench.record.files import as_json
from bench.report.document import markdown, page, text
from bench.report.document.blocks import Document
from pipelines.errors import VisiontaxError

_WRITERS: dict[str, Callable[[Document], str]] = {
    "text": text.write,
    "md": markdown.write,
    "html": page.write,
}
FORMATS = (*sorted([*_WRITERS, "json"]),)


def written(document: Document, *, format: str, data: Callable[[], Any]) -> str:
    """Return it in one of the FORMATS, without a newline at its end; `data` gives what its JSON
    holds. Raises VisiontaxError when the format is none of them.
    """
    if format == "json":
        return as_json(data()).decode()
    if format not in _WRITERS:
        known = ", ".join(FORMATS)
        raise VisiontaxError(f"unknown report format {format!r}", hint=f"use one of: {known}")
    return _WRITERS[format](document)
