"""Charts as SVG and PNG, drawn by Vega-Lite without a browser: the same chart, the same bytes."""

from __future__ import annotations

from typing import Any

from bench.ledger import units
from bench.report.document.blocks import Chart
from bench.report.document.charts import colours, look
from bench.report.document.charts.plain import plain

WIDE, NARROW = 1080, 340
"""The widths for a screen and for a phone."""


def svg(chart: Chart, width: int) -> str:
    """Return the picture as an element for a page, whose colours it takes, in light and dark."""
    return plain(_drawn(_spec(chart, width)), label=_label(chart), named=True)


def slide(chart: Chart, width: int = WIDE) -> str:
    """Return the picture as a file of its own: on white, with its title."""
    return plain(_drawn(_titled(chart, width)), label=_label(chart), named=False)


def png(chart: Chart, width: int = WIDE, *, scale: float = 2) -> bytes:
    """Return what `slide` does as pixels, `scale` for each of the picture's."""
    import vl_convert

    return bytes(
        vl_convert.vegalite_to_png(_titled(chart, width), scale=scale, allowed_base_urls=[])
    )


def _label(chart: Chart) -> str:
    return look.cut(f"{chart.title}: {chart.said}", most=1_000)


def _spec(chart: Chart, width: int) -> dict[str, Any]:
    """The picture for Vega-Lite; to hold each of its parts against the schema is for tests."""
    from altair.utils.schemapi import debug_mode

    with debug_mode(arg=False):
        spec: dict[str, Any] = _cleaned(chart.draw(width).to_dict(validate=False))
    return spec


def _cleaned(value: Any) -> Any:
    """The same without control characters, of which one ends the whole process."""
    if isinstance(value, str):
        return units.clean(value)
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    return [_cleaned(one) for one in value] if isinstance(value, list) else value


def _titled(chart: Chart, width: int) -> dict[str, Any]:
    drawn = _spec(chart, width)
    drawn["background"] = colours.CARD
    drawn["padding"] = {"left": 16, "right": 16 + look.RIGHT, "top": 16, "bottom": 16}
    of = drawn.get("title", {}).get("text")
    drawn["title"] = {
        "text": look.cut(chart.title, most=width // 10),
        **({"subtitle": of, "subtitleFontSize": 13, "subtitlePadding": 8} if of else {}),
        "subtitleColor": colours.SOFT,
        "fontSize": 18,
        "offset": 14,
        "anchor": "start",
        "frame": "bounds",
    }
    return drawn


def _drawn(spec: dict[str, Any]) -> str:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
