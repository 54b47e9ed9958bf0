"""A straight line through points of a study: what a measure is for each unit of another."""

from collections.abc import Sequence

import msgspec
import numpy as np

from bench.ledger.quantiles import Quantile

FEWEST = 3
"""Through two points there is always a line."""


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """`measure` = `intercept` + `slope` x `against`, by ordinary least squares, through the points
    of these `cells`, which are alike in `at`: those that can be trusted.

    `r2` is how much of the variance the line explains (the coefficient of determination, 1 minus
    the residual sum of squares over the total one): 1 of a straight line, 0 of none.
    """

    measure: str
    against: str
    at: dict[str, str]
    cells: list[str]
    slope: float
    intercept: float
    r2: float


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float] | None:
    """Return slope, intercept and R², of a line that goes up or down by nothing R² of 0.

    None through fewer than FEWEST points, or where x does not differ. Formulas: Draper and Smith,
    Applied Regression Analysis, 1998, 1.2 and 1.5.
    """
    xs, ys = np.array(x, np.float64), np.array(y, np.float64)
    if len(xs) < FEWEST or np.ptp(xs) == 0:
        return None
    dx, dy = xs - xs.mean(), ys - ys.mean()
    slope = float(dx @ dy / (dx @ dx))
    intercept = float(ys.mean() - slope * xs.mean())
    total = float(dy @ dy)
    rest = float(np.sum((dy - slope * dx) ** 2))
    return slope, intercept, 1 - rest / total if total else 0.0


def known(value: Quantile | None) -> float | None:
    """Return the number of a measure, None where there is none."""
    return value.value if value else None
