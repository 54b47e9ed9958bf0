"""`bench protocol`: what this checkout speaks with another revision that measures it."""

import click

from bench.runs.experiments.protocol import as_text


@click.command()
def command() -> None:
    """Print the version of the protocol between revisions, and the settings known here, as JSON."""
    click.echo(as_text())
