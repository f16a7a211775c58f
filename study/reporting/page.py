"""The report's page: sections made of few kinds of parts, laid out by one template."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from study.reporting.figures.style import save

_TYPES = {".svg": "image/svg+xml", ".jpg": "image/jpeg"}


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str
    kind: str = "words"


@dataclass(frozen=True)
class Picture:
    """A figure within the page."""

    uri: str
    """Holds the picture itself."""
    caption: str
    """What to read off it."""
    width: float
    """Inches that it is made for; it shrinks where there is less room."""
    alt: str = ""
    """For who can't see it; empty if the caption says it all."""
    kind: str = "picture"


@dataclass(frozen=True)
class Table:
    """Cells of text; long tables scroll on a screen, and are whole on paper."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    looks: Sequence[str] = ()
    """A class of the style sheet for each row, if any."""
    sortable: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Code:
    """A command to copy."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Gallery:
    """Photos, each with what to say of it."""

    photos: Sequence[Picture]
    caption: str
    kind: str = "gallery"


Part = Words | Picture | Table | Code | Gallery


@dataclass(frozen=True)
class Section:
    """One heading and what is under it."""

    title: str
    parts: Sequence[Part]

    @property
    def anchor(self) -> str:
        """What links to it."""
        return "-".join(self.title.lower().split())


class Painter:
    """Keeps each figure as PNG and SVG in a folder, and hands it on for the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for old in [*folder.glob("*.png"), *folder.glob("*.svg")]:
            old.unlink()  # Else a figure that is no longer drawn would stay beside the new ones.

    def keep(self, name: str, figure: Figure, caption: str) -> Picture:
        """Save the figure under a name and return it as a part of the page."""
        save(figure, self.folder / f"{name}.png")
        figure.set_layout_engine("none")  # It is laid out; to do it again takes as long as to draw.
        save(figure, self.folder / f"{name}.svg")
        return Picture(
            embed(self.folder / f"{name}.svg"),
            caption,
            width=figure.get_figwidth(),
            alt=figure.get_suptitle(),
        )


def embed(path: Path) -> str:
    """Return a picture as an address that holds it; as such, no script within it ever runs."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"data:{_TYPES[path.suffix]};base64,{data}"


def render(
    title: str, subtitle: str, answer: Sequence[str], notes: Iterable[str], sections: list[Section]
) -> str:
    """Return the page; every text is escaped by the template."""
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
