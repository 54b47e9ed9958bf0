"""In which order what is compared takes turns, so that drift of the machine hits all alike."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turn(groups: Sequence[Sequence[T]], *, rounds: int, seed: int) -> list[T]:
    """Return all members of all groups, once a round, shuffled anew in each.

    The members of a group, which are to be compared, follow each other.
    """
    chance = random.Random(seed)
    return [
        one
        for _ in range(rounds)
        for group in chance.sample(groups, len(groups))
        for one in chance.sample(group, len(group))
    ]


def mirrored(members: Sequence[T], *, rounds: int) -> list[T]:
    """Return all members once a round, backwards in every second one: of two ABBA ABBA ..."""
    return [one for number in range(rounds) for one in members[:: -1 if number % 2 else 1]]
