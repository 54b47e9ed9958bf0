"""`bench images`: makes image sets."""

import click

from bench.prepare.images.sets import (
    COUNT,
    DEFAULT_SETS,
    IMAGES,
    KNOWN,
    SEED,
    build_images,
    images_of,
)


@click.command("images")
@click.option("--count", type=click.IntRange(1, 1000), default=COUNT, show_default=True)
@click.option("--seed", type=int, default=SEED, show_default=True)
@click.option(
    "--sets",
    default=",".join(DEFAULT_SETS),
    show_default=True,
    help=f"The sets to build, separated by commas, of: {KNOWN}.",
)
def command(count: int, seed: int, sets: str) -> None:
    """Build image sets, from pinned photographs, into build/images."""
    names = [name.strip() for name in sets.split(",")]
    for folder in build_images(IMAGES, count=count, seed=seed, sets=names):
        images = images_of(folder.name, folder=IMAGES)
        width, height, length = map(images.median, ("width", "height", "bytes"))
        click.echo(
            f"{folder} {len(images.paths)} images, median {width}x{height} pixels, {length} bytes"
        )
