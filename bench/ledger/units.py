"""Numbers, durations and names as every report prints them: plain text, to be escaped by a page."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipelines.engines.serving import TRITON
from pipelines.preprocess.choose import FULL
from pipelines.tasks.tensors import NORMALIZES
from pipelines.topologies.names import ANSWERS

if TYPE_CHECKING:  # a load says numbers too, and must not wait for pandas
    from bench.ledger.quantiles import Quantile
    from bench.ledger.summary import Summary


def readable(duration_s: float) -> str:
    """Return 75 as `1 min 15 s`."""
    whole = round(duration_s)
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


ABSENT = "-"


def clean(text: str) -> str:
    r"""Spell out what a terminal or reader would obey rather than show: `\x1b`, `\u202e`."""
    return "".join(
        char.encode("unicode_escape").decode("ascii") if _is_control(char) else char
        for char in text
    )


def number(value: float | None) -> str:
    """At least three significant digits, at most four decimals: `0.0123`, `7.40`, `150`, `1234`."""
    if value is None or not math.isfinite(value):
        return ABSENT
    rounded = float(f"{value:.3g}")
    if abs(rounded) < 0.0001:
        return "0" if value == 0 else "<0.0001" if value > 0 else ">-0.0001"
    decimals = 2 - math.floor(math.log10(abs(rounded)))
    return f"{value:.{min(max(decimals, 0), 4)}f}"


def between(low: float | None, high: float | None) -> str:
    """An interval in brackets: `(58.1 to 63.0)`."""
    return f"({number(low)} to {number(high)})"


def quantile(one: Quantile | None) -> str:
    """A quantile as every table has it: `60.3 (58.1 to 63.0)`, or `too few: needs 500`."""
    if one is None:
        return ABSENT
    if one.value is None:
        return f"too few: needs {one.needs:,}"
    return f"{number(one.value)} {between(one.low, one.high)}"


def percent(share: float | None) -> str:
    """A share of 1 as percent with one decimal; a trace is not shown as none, nor most as all."""
    if share is None or not math.isfinite(share):
        return ABSENT
    if share in (0, 1):
        return "0 %" if share == 0 else "100 %"
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{100 * share:.1f} %"


def points(change: float) -> str:
    """A difference of two shares in percentage points, with its sign."""
    text = f"{100 * change:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def duration(seconds: float) -> str:
    """Seconds in the units a person would use: `500 ms`, `30.0 s`, `2 min 30 s`, `1 h 5 min`."""
    if not math.isfinite(seconds):
        return ABSENT
    if seconds < 1:
        return f"{number(1000 * seconds)} ms"
    if seconds < 59.95:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def count(amount: int, noun: str) -> str:
    """A counted noun: `1 user`, `12,345 requests`."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def settings(summary: Summary) -> dict[str, str]:
    """What was run, by the name of the setting; what does not apply is left out."""
    names = ("pipeline", "only", "images", "preprocess", "place", "transport", "topology", "crops")
    found = {name: clean(getattr(summary, name) or "") for name in names}
    usual = {"normalize": NORMALIZES[0], "answers": ANSWERS[0], "decode": FULL}
    for name, default in usual.items():
        said = getattr(summary, name)
        found[name] = clean(said) if said != default else ""
    found["server"] = clean(summary.served_by) if summary.served_by != TRITON else ""
    found["users"] = count(summary.users, "user") if summary.users else ""
    if summary.shape is not None:
        found["users"] = f"users by {clean(summary.shape)} (closed loop)"
    if summary.schedule is not None:
        found["schedule"] = clean(summary.schedule)
        found["users"] = f"at most {summary.users} under way"
    found["duration"] = duration(summary.duration_s)
    return {name: value for name, value in found.items() if value}


def phrases(settings: Mapping[str, str]) -> list[str]:
    """One phrase a setting: some values say themselves what they are of."""
    own = ("users", "duration")
    return [value if name in own else f"{name} {value}" for name, value in settings.items()]


def _is_control(char: str) -> bool:
    category = unicodedata.category(char)
    return category.startswith("C") or category in ("Zl", "Zp")
