"""One of the two that an experiment compares."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.record.scenario import Settings


@dataclass(frozen=True)
class Side:
    """One side: `name` is a or b, `text` what the user wrote.

    The settings have no addresses but those that the user gave.
    """

    name: Literal["a", "b"]
    text: str
    settings: Settings
    repository: Path | None = None
    revision: str | None = None

    @property
    def title(self) -> str:
        """The side in a message."""
        return f"{self.name.upper()} ({self.text})" if self.text else self.name.upper()
