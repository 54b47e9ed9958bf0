"""Tensors by name, and what a model says of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor an engine must return: its name, NumPy type and largest shape.

    To an engine the batch dimension is part of the shape; a DNN's own outputs are stated without.
    """

    name: str
    dtype: type[Any]
    shape: tuple[int, ...]
