"""An SVG as Vega writes it, made smaller, and fit for a page: what cannot be seen is left out, what
siblings have alike is said once, and colours that a page has by name are named.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from bench.report.document.charts import colours

SVG = "http://www.w3.org/2000/svg"
FONTS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

_NEVER = ("version", "class", "role", "aria-hidden", "aria-roledescription", "pointer-events")
_INHERITED = (
    *("fill", "stroke", "stroke-width", "stroke-dasharray", "text-anchor"),
    *("font-family", "font-size", "font-weight"),
)
_LONG = re.compile(r"-?\d+\.\d\d+(?:e-?\d+)?")


def plain(drawn: str, *, label: str, named: bool) -> str:
    """Return the SVG, `label` being what it shows. Where colours are `named` it is for a page."""
    ET.register_namespace("", SVG)
    root = ET.fromstring(drawn)
    _tidy(root)
    shown = {name: root.attrib[name] for name in ("width", "height", "viewBox")}
    inner = ET.Element("svg", {"xmlns": SVG, **shown, "role": "img", "aria-label": label})
    inner.attrib["font-family"] = FONTS if named else "Arial, Helvetica, sans-serif"
    inner.extend(root)
    for one in inner.iter():
        one.tag = one.tag.rpartition("}")[2]
        if one is not inner:
            one.attrib.pop("font-family", None)
    _flatten(inner)
    if named:
        _name(inner)
    return ET.tostring(inner, encoding="unicode")


def _tidy(element: ET.Element) -> None:
    """Take away what cannot be seen or read, and shorten numbers."""
    kind = element.get("class", "")
    told = element.attrib.pop("aria-label", "")
    if told and "role-" not in kind and element.get("role") == "graphics-symbol":
        ET.SubElement(element, f"{{{SVG}}}title").text = told
    for name in _NEVER:
        element.attrib.pop(name, None)
    if element.get("opacity") == "1":
        del element.attrib["opacity"]
    for name in ("d", "transform", "x", "y", "x2", "y2", "width", "height"):
        if name in element.attrib:
            element.attrib[name] = _LONG.sub(_short, element.attrib[name])
    if element.get("transform") == "translate(0,0)":
        del element.attrib["transform"]
    for child in [*element]:
        if _seen(child):
            _tidy(child)
        else:
            element.remove(child)


def _short(match: re.Match[str]) -> str:
    text = f"{float(match[0]):.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def _seen(element: ET.Element) -> bool:
    empty = "background" in element.get("class", "") and not element.get("fill")
    empty = empty or element.get("fill") == "transparent"
    return not (
        empty or element.get("opacity") == "0" or element.get("display") == "none"
    ) or element.tag.endswith("}defs")


def _flatten(element: ET.Element) -> None:
    """Give what stands in groups that say nothing to the group around; join paths that look alike;
    say at the group what all in it have alike.
    """
    kept: list[ET.Element] = []
    for child in element:
        _flatten(child)
        if child.tag == "g" and not child.attrib:
            kept += [*child]
        elif child.tag != "g" or len(child):
            kept.append(child)
    element[:] = list(_joined(kept))
    if element.tag != "g" or not kept:
        return
    for name in _INHERITED:
        values = {one.get(name) for one in element}
        if len(values) == 1 and (value := values.pop()) is not None:
            element.attrib[name] = value
            for one in element:
                del one.attrib[name]


def _joined(elements: list[ET.Element]) -> Iterator[ET.Element]:
    last: ET.Element | None = None
    for one in elements:
        if one.tag == "path" and last is not None and _look(one) == _look(last):
            last.attrib["d"] += one.get("d", "")
            continue
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last


def _look(path: ET.Element) -> tuple[object, ...]:
    """What paths that can be one have alike; nothing of one that says something, or is turned."""
    if path.tag != "path" or len(path) or "transform" in path.attrib or "opacity" in path.attrib:
        return (id(path),)
    return tuple(sorted(item for item in path.attrib.items() if item[0] != "d"))


def _name(root: ET.Element) -> None:
    for one in root.iter():
        for key in ("fill", "stroke"):
            value = one.get(key, "")
            if value in colours.NAMED:
                one.attrib[key] = f"var(--{colours.NAMED[value]}, {value})"
