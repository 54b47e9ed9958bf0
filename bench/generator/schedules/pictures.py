"""Which image a request is about, and of which pipeline it is: a function of a seed and the
request's number.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from bench.generator.schedules.arrivals import BLOCK
from bench.generator.schedules.schedule import Times, schedule_of
from bench.prepare.images.sets import ImageSet
from bench.record.scenario import Settings, weights_of
from pipelines.errors import VisiontaxError

_PIPELINES = 1
"""Begins the seeds of the pipelines, which go by chance of their own."""


class Pictures:
    """Rounds through all images, each in an order of its own; in a mix each request's image by
    their `weights`, whatever the others are about.

    `named` are those of single requests, by their numbers in the set, None where that is not said.
    The others are of `count` images, from the `first` on.
    """

    def __init__(
        self,
        count: int,
        *,
        seed: Sequence[int],
        first: int = 0,
        weights: Sequence[float] = (),
        named: Sequence[int | None] = (),
    ) -> None:
        self._count, self._first, self._seed = count, first, seed
        self._weights, self._named = weights, named
        rounds = 1 if weights else max(1, BLOCK // count)
        self._shape = (1, BLOCK) if weights else (rounds, count)
        self._block = functools.lru_cache(maxsize=4)(self._drawn)

    def _drawn(self, block: int) -> list[int]:
        draw = np.random.default_rng([*self._seed, block, BLOCK])
        if self._weights:
            numbers = draw.choice(self._count, self._shape, p=self._weights)
        else:
            numbers = draw.permuted(np.broadcast_to(np.arange(self._count), self._shape), axis=1)
        drawn: list[int] = (self._first + numbers.ravel()).tolist()
        return drawn

    def __call__(self, request: int) -> int:
        """Return the number of the request's image."""
        if request < len(self._named) and (named := self._named[request]) is not None:
            return named
        block, place = divmod(request, self._shape[0] * self._shape[1])
        return self._block(block)[place]


class Draw:
    """Of which pipeline a request is, by their weights, and about which of its images."""

    def __init__(
        self, weights: Mapping[str, float], pictures: Mapping[str, Pictures], *, seed: Sequence[int]
    ) -> None:
        whole = sum(weights.values())
        self._names, self._pictures = list(weights), pictures
        shares = [weight / whole for weight in weights.values()]
        self._of = Pictures(len(shares), seed=[_PIPELINES, *seed], weights=shares)

    def __call__(self, request: int) -> tuple[str, int]:
        """Return the pipeline's name and the image's number."""
        name = self._names[self._of(request)]
        return name, self._pictures[name](request)


def numbers_of(names: list[str], images: list[str]) -> list[int | None]:
    """Return which of the set's images each name is, None of an empty one.

    Raises VisiontaxError of a name that is none.
    """
    known = {name: number for number, name in enumerate(images)}
    strange = sorted({name for name in names if name and name not in known})
    if strange:
        raise VisiontaxError(
            f"recorded arrivals are of images that are not in the set: {', '.join(strange[:5])}",
            hint="--images names the folder that they are in; names are as below that",
        )
    return [known.get(name) for name in names]


def scheduled(asked: Settings, images: ImageSet, *, worker: int = 0) -> tuple[Times | None, Draw]:
    """Return when requests are due, None in a closed loop, and of which pipelines and images they
    are: there in an order of each worker's own.

    Raises VisiontaxError when that cannot be read.
    """
    schedule = schedule_of(asked)
    names = getattr(schedule, "images", [])
    named = numbers_of(names, [image.name for image in images.images])
    seed = [asked.seed] if schedule else [asked.seed, worker]
    weights = weights_of(asked.pipeline)
    whole = range(max(1, len(images.paths)))
    own = {name: images.of.get(name, whole) for name in weights}
    shares = () if images.of else images.weights
    pictures = {
        name: Pictures(len(one), seed=seed, first=one.start, weights=shares, named=named)
        for name, one in own.items()
    }
    return schedule, Draw(weights, pictures, seed=seed)
