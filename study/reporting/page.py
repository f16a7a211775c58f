"""The report's page: sections with a few kinds of parts, in one template."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from study.reporting.figures.style import save

_TYPES = {".svg": "image/svg+xml", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    text: str
    kind: str = "paragraph"


@dataclass(frozen=True)
class Picture:
    """A figure in the page."""

    uri: str
    """A data URI that contains the picture."""
    caption: str
    """What the figure shows."""
    width: float
    """Inches; the picture shrinks in a narrower page."""
    alt: str = ""
    """Alternative text; empty if the caption is enough."""
    kind: str = "picture"


@dataclass(frozen=True)
class Table:
    """Cells of text; a long table scrolls on a screen and prints in full."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    looks: Sequence[str] = ()
    """A CSS class for each row, if any."""
    sortable: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Code(Paragraph):
    """A command to copy."""

    kind: str = "code"


@dataclass(frozen=True)
class Gallery:
    """Photos, each with its caption."""

    photos: Sequence[Picture]
    caption: str
    kind: str = "gallery"


Part = Paragraph | Picture | Table | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and the parts under it."""

    title: str
    parts: Sequence[Part]


class FigureWriter:
    """Saves each figure as PNG and SVG in a folder, and returns it as a part of the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for old in [*folder.glob("*.png"), *folder.glob("*.svg")]:
            old.unlink()  # Otherwise figures that are no longer drawn would stay.

    def add(self, name: str, figure: Figure, caption: str) -> Picture:
        """Save the figure and return it as a part of the page."""
        save(figure, self.folder / f"{name}.png")
        figure.set_layout_engine(
            "none"
        )  # The layout is done; repeating it takes as long as drawing.
        save(figure, self.folder / f"{name}.svg")
        return Picture(
            embed(self.folder / f"{name}.svg"),
            caption,
            width=figure.get_figwidth(),
            alt=figure.get_suptitle(),
        )


def embed(path: Path) -> str:
    """Return a picture as a data URI; browsers run no script in it."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"data:{_TYPES[path.suffix]};base64,{data}"


def render(
    title: str, subtitle: str, answer: Sequence[str], notes: Sequence[str], sections: list[Section]
) -> str:
    """Return the page; the template escapes every text."""
    environment = Environment(
        loader=PackageLoader("study.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        title=title, subtitle=subtitle, answer=answer, notes=notes, sections=sections
    )
