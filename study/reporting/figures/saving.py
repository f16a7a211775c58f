"""Figures as files: PNG for slides and papers, SVG for the page."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter

from study.reporting.figures import svg
from study.reporting.figures.fonts import with_codes
from study.reporting.figures.style import Plot

CODES = "(\\u... stands for a character that no font on this machine has)"
"""Line under the title of a PNG with codes."""
_DPI = 150
"""Pixels an inch of a PNG."""
_POINTS = 72
"""Points an inch, the unit of SVG."""


def save_png(figure: Plot, path: Path) -> None:
    """Write the figure as PNG, with codes for characters that no font of its family has."""
    engine = figure.get_layout_engine()
    with _coded(figure) as coded:
        _lay_out(figure)
        figure.savefig(path, dpi=_DPI)
    if coded:
        figure.set_layout_engine(engine)


def to_svg(figure: Plot, name: str, description: str) -> str:
    """Return the figure as SVG for a page, where its ids begin with `name`.

    Its title is that of the figure.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        # Matplotlib only measures the text here, and its boxes for unknown characters are wide.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        _lay_out(figure)
        figure.savefig(file, format="svg", metadata={"Date": None})
        width, height = (_POINTS * inches for inches in figure.get_size_inches())
        places = [(*value.place, value.text) for value in figure.values]
        points = [(x * width, (1 - y) * height, text) for x, y, text in places]
        title = figure.get_suptitle().replace("\n", ", ")
        return svg.to_text(svg.tidy(file.getvalue(), name, title, description, points))


def _lay_out(figure: Plot) -> None:
    """Do the layout of a figure, once: what has a layout engine is drawn twice for each file."""
    if engine := figure.get_layout_engine():
        before = figure.dpi
        figure.set_dpi(_DPI)
        engine.execute(figure)
        figure.set_dpi(before)
        figure.set_layout_engine(None)


@contextmanager
def _coded(figure: Plot) -> Iterator[bool]:
    """Put codes into the texts of the figure for a while; the value is whether there are any."""
    texts = {text: text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}
    axes = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    ticks = [f for axis in axes if isinstance(f := axis.get_major_formatter(), FixedFormatter)]
    names = {formatter: list(formatter.seq) for formatter in ticks}
    shown = [*texts.values(), *(name for seq in names.values() for name in seq)]
    if all(with_codes(text) == text for text in shown):
        yield False
        return
    for text, before in texts.items():
        text.set_text(with_codes(before))
    for formatter, seq in names.items():
        formatter.seq = [with_codes(name) for name in seq]
    title = figure.get_suptitle()
    figure.suptitle(f"{title}\n{CODES}")
    yield True
    for text, before in texts.items():
        text.set_text(before)
    for formatter, seq in names.items():
        formatter.seq = seq
