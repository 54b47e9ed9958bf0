"""What is printed on stdout: text in colour on a terminal, and the same cells and words plain."""

import os
import sys

import click

_RULE = r"-+(?: +-+)*$"
_STYLES = (
    (rf"(?m)^.+(?=\n{_RULE})", "bold"),
    (rf"(?m)^{_RULE}", "dim"),
    (r"\bINVALID\b|(?<=[\d)])!|(?<=  )(?:missing|regression)(?=  )", "bold red"),
    (r"\bwarning\b|(?<=  )(?:optional|noisy)(?=  )", "yellow"),
    (r"(?m)\bVALID\b|(?<=  )(?:ok|pass)(?=  )", "green"),
)
"""What matches, and how a terminal shows it."""


def show(text: str, *, format: str = "text") -> None:
    """Print it; what is not text goes to programs, and stays plain on a terminal too."""
    if format != "text" or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        click.echo(text)
        return
    from rich.console import Console  # here, because it would cost every command its start
    from rich.text import Text

    shown = Text(text)
    for pattern, style in _STYLES:
        shown.highlight_regex(pattern, style)
    Console().print(shown, soft_wrap=True)
