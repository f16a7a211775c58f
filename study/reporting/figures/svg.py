"""The SVG of a figure, made safe and small enough to stand in a page.

Text stays text. Of matplotlib's output, only known elements and attributes are taken over, so
nothing in it can run, load or style anything. Styles become attributes, which a page may show
without allowing styles in its security policy.
"""

import re
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from study.reporting.figures.fonts import text_width

_FONTS = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
"""All are as wide as the font that the layout is made with, or narrower. For characters that they
lack, browsers and editors take another one."""
_ELEMENTS = {"svg", "g", "defs", "clipPath", "path", "rect", "use", "image", "text"}
_PLACES = {"d", "x", "y", "width", "height", "viewBox", "transform"}
_PAINT = {
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-linejoin",
    "stroke-linecap", "stroke-dasharray", "stroke-dashoffset", "opacity", "font-size",
    "text-anchor",
}  # fmt: skip
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_PLAIN = re.compile(r"[\w\s#.,()+%-]*")
"""Values that name no address and hide nothing behind an escape."""
_TARGET = re.compile(r"(?:url\()?#([^)]+)\)?")
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_NO_TURN = re.compile(r"^rotate\(-?0 [^)]*\)$")
_MOVE = re.compile(r"^translate\((\S+) (\S+)\)$")
_REACH = 7
"""Radius of the area where a pointer finds a point, in points (1/72 inch)."""

Point = tuple[float, float, str]
"""Place of a value, in points from the upper left corner, and its text."""


def tidy(svg: bytes, name: str, title: str, description: str, points: Iterable[Point]) -> Element:
    """Return matplotlib's SVG in clean form, with its texts and its points.

    Args:
        svg: what matplotlib wrote, with `svg.fonttype` none.
        name: of the figure; ids are `figure-NAME-...`, so that several figures can share a page.
        title: of the figure, for readers who do not see it.
        description: likewise, some sentences.
        points: values that are shown at the pointer.

    Raises `xml.etree.ElementTree.ParseError` if it is not XML.
    """
    source = ElementTree.fromstring(_in_xml(svg.decode()))
    name = f"figure-{name}"
    names = {old: f"{name}-{i}" for i, old in enumerate(sorted(_references(source)))}
    root = Element("svg", _attributes(source, names))
    root.set("xmlns", "http://www.w3.org/2000/svg")
    root.set("xmlns:xlink", "http://www.w3.org/1999/xlink")
    root.attrib |= {"role": "img", "font-family": _FONTS, "stroke-linejoin": "round"}
    root.set("aria-labelledby", f"{name}-title")
    root.set("aria-describedby", f"{name}-desc")
    # Beside the drawing: a title of the whole would show wherever the pointer is.
    texts = SubElement(root, "defs")
    for tag, text in (("title", title), ("desc", description)):
        SubElement(texts, tag, {"id": f"{name}-{tag}"}).text = _in_xml(text)
    drawing = SubElement(root, "g", {"class": "drawing"})
    for child in source:
        drawing.extend(_clean(child, names))
    if found := list(points):
        root.append(_points(found))
    return root


def to_text(svg: Element) -> str:
    """Return the element as it may stand in an HTML page and in a file."""
    return ElementTree.tostring(svg, encoding="unicode")


def _in_xml(text: str) -> str:
    """The text with `?` for each character that XML forbids."""
    return _NOT_IN_XML.sub("?", text)


def _local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _references(source: Element) -> set[str]:
    """The ids that other elements use."""
    values = [value for element in source.iter() for value in element.attrib.values()]
    found = (_TARGET.fullmatch(value) for value in values)
    return {match[1] for match in found if match}


def _clean(element: Element, names: dict[str, str]) -> Iterator[Element]:
    """Yield the element in clean form; for a group without a meaning, yield what is in it."""
    tag = _local(element.tag)
    if tag not in _ELEMENTS:
        return
    inner = [clean for child in element for clean in _clean(child, names)]
    attributes = _attributes(element, names)
    if tag in ("g", "defs") and not inner:
        return
    if tag == "g" and not attributes:
        yield from inner
        return
    cleaned = Element(tag, attributes)
    cleaned.extend(inner)
    if tag == "text":
        cleaned.text = "".join(element.itertext())
        _centre(cleaned)
    yield cleaned


def _attributes(element: Element, names: dict[str, str]) -> dict[str, str]:
    given = {_local(key): value for key, value in element.attrib.items()}
    style = (entry.partition(":") for entry in given.pop("style", "").split(";"))
    given |= {key.strip(): value.strip() for key, _, value in style}
    shown = {key: value for key, value in given.items() if key in _PLACES | _PAINT}
    found = {key: _short(value) for key, value in shown.items() if _PLAIN.fullmatch(value)}
    if _NO_TURN.match(found.get("transform", "")):
        del found["transform"]
    if given.get("id") in names:
        found["id"] = names[given["id"]]
    clip = _TARGET.fullmatch(given.get("clip-path", ""))
    if clip and clip[1] in names:
        found["clip-path"] = f"url(#{names[clip[1]]})"
    target = given.get("href", "")
    if target[:1] == "#" and target[1:] in names:
        found["xlink:href"] = f"#{names[target[1:]]}"
    elif target.startswith("data:image/png;base64,"):
        found["xlink:href"] = "".join(target.split())
    return found


def _short(value: str) -> str:
    """Numbers with two decimals: a hundredth of a point is not visible."""
    rounded = _NUMBER.sub(lambda number: f"{round(float(number[0]), 2):g}", value)
    return " ".join(rounded.split())


def _centre(text: Element) -> None:
    """Anchor a line by its middle, so that it stands in the same place in any font.

    Matplotlib anchors a text of one line by itself. It places each line of a longer text by its
    left end; those in our figures are all centred.
    """
    place = _MOVE.match(text.get("transform", ""))
    if text.get("text-anchor") or not place:
        return
    width = text_width(text.text or "", float(text.get("font-size", "").removesuffix("px")))
    del text.attrib["transform"]
    middle = f"{float(place[1]) + width / 2:.2f}"
    text.attrib |= {"x": middle, "y": place[2], "text-anchor": "middle"}


def _points(points: Iterable[Point]) -> Element:
    """Invisible discs over the points; browsers show their titles even without a script."""
    group = Element("g", {"class": "points", "fill-opacity": "0"})
    for x, y, text in points:
        point = SubElement(group, "g", {"class": "point"})
        SubElement(point, "title").text = _in_xml(text)
        SubElement(point, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": str(_REACH)})
    return group
