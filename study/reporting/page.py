"""The report's page: sections with a few kinds of parts, in one template."""

import base64
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from study.reporting.figures.saving import save_png, to_svg
from study.reporting.figures.style import Plot

_WIDEST = 8
"""Columns that fit into a page."""
_LONG_WORD = re.compile(r"\S{31,}")
"""A name of which a printed page has to break the lines."""
_NUMBER = re.compile(r"[\d.]+e-\d+|[\d.,]+ %")
_TEMPLATES = files("study.reporting") / "templates"


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    text: str
    kind: str = "paragraph"


@dataclass(frozen=True)
class Drawing:
    """A figure in the page."""

    svg: Markup
    """Tidy SVG; it stands in the page as it is."""
    caption: str
    """What the figure shows."""
    kind: str = "drawing"


@dataclass(frozen=True)
class Photo:
    """A photo with its caption, which also is what readers who do not see it get."""

    uri: str
    """A data URI that contains the picture."""
    caption: str


@dataclass(frozen=True)
class Table:
    """Cells of text. A table with filters scrolls on a screen and prints in full."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    looks: Sequence[str] = ()
    """A CSS class for each row, if any."""
    filters: Sequence[str] = ()
    """Columns whose values a reader can choose among. Such a table is sortable and searchable."""
    kind: str = "table"

    def __post_init__(self) -> None:
        """Turn a wide table of few rows, so that it fits into a page."""
        if len(self.head) > max(_WIDEST, len(self.rows) + 1) and not (self.looks or self.filters):
            head, *rows = zip(self.head, *self.rows, strict=True)
            object.__setattr__(self, "head", head)
            object.__setattr__(self, "rows", rows)


@dataclass(frozen=True)
class Code(Paragraph):
    """A command to copy."""

    kind: str = "code"


@dataclass(frozen=True)
class Gallery:
    """Photos, each with its caption."""

    photos: Sequence[Photo]
    caption: str
    kind: str = "gallery"


Part = Paragraph | Drawing | Table | Gallery


@dataclass(frozen=True)
class NextStep:
    """Something to try after this study."""

    text: str
    """What it would tell, in a sentence."""
    command: str


@dataclass(frozen=True)
class FirstScreen:
    """What a reader sees first. What is empty is left out."""

    title: str
    subtitle: str
    recommendation: str = ""
    answers: Sequence[str] = ()
    how_sure: Sequence[str] = ()
    figure: Drawing | None = None
    next_steps: Sequence[NextStep] = ()
    notes: Sequence[str] = ()
    """What limits the answers."""


class FigureWriter:
    """Saves each figure as PNG and SVG in a folder, and returns it as a part of the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for old in [*folder.glob("*.png"), *folder.glob("*.svg")]:
            old.unlink()  # Otherwise figures that are no longer drawn would stay.

    def add(self, name: str, figure: Plot, caption: str) -> Drawing:
        """Save the figure and return it as a part of the page."""
        save_png(figure, self.folder / f"{name}.png")
        svg = to_svg(figure, name, caption)
        (self.folder / f"{name}.svg").write_text(svg, encoding="utf-8")
        return Drawing(Markup(svg), caption)


def unbroken(text: str) -> Markup:
    """Return a text that breaks no line in `95 %` and `2e-05`; what is copied stays the same."""
    return Markup(_NUMBER.sub(r'<span class="number">\g<0></span>', str(escape(text))))


def isolated(name: str) -> str:
    """Return a name for use in a sentence, whose other words keep their order.

    Arabic or Hebrew letters, and marks of direction, would also turn the numbers beside the name.
    """
    turning = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI"}
    if turning.isdisjoint(map(unicodedata.bidirectional, name)):
        return name
    return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def embed(path: Path) -> str:
    """Return a JPEG picture as a data URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def render(first: FirstScreen, sections: Mapping[str, Sequence[Part]]) -> str:
    """Return the page with sections of parts by heading; the template escapes every text.

    The page's security policy names its style and its script by their hashes, so a browser runs
    and applies nothing else.
    """
    environment = Environment(
        loader=PackageLoader("study.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    environment.tests["long_word"] = _LONG_WORD.search
    style, script = (
        _TEMPLATES.joinpath(name).read_text(encoding="utf-8")
        for name in ("report.css", "report.js")
    )
    return environment.get_template("report.html").render(
        first=first,
        sections=sections,
        style=Markup(style),
        script=Markup(script),
        hashes=[_hash(style), _hash(script)],
    )


def _hash(text: str) -> str:
    """The hash of a style or a script, as a security policy has it (W3C CSP 3, 2.3.1)."""
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"
