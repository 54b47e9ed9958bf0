"""`bench remove`: a user's model out of the repository."""

import click

from bench.prepare.own import add


@click.command()
@click.argument("name")
def command(name: str) -> None:
    """Remove a model that was added, and all that was made for it."""
    for folder in add.remove(name):
        click.echo(f"removed {folder}")
