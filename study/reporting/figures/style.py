"""The look of every figure: colours, markers and axes."""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from study.records.trial_record import TrialRecord
from study.reporting.figures.fonts import BASE, text_width
from study.reporting.figures.log_ticks import RoundNumbers
from study.reporting.figures.values import Labels
from tl_core.config import Mode, direction
from tl_core.text import printable

# Okabe and Ito's colours suit colour-blind readers; the markers differ in black and white.
STYLES: dict[Mode, dict[str, Any]] = {
    "freeze": {"color": "#0072B2", "marker": "o"},
    "probe": {"color": "#56B4E9", "marker": "v"},
    "partial": {"color": "#E69F00", "marker": "P"},
    "finetune": {"color": "#D55E00", "marker": "s"},
    "lp_ft": {"color": "#009E73", "marker": "^"},
    "scratch": {"color": "#000000", "marker": "D"},
}
WIDTH = 7.2
"""Inches; the text width of A4, so that fonts print in their real size."""

_LONG = 15
"""A score whose name has more characters needs two lines beside axes of usual height."""
_SIZE = 9
"""Font size of labels, points."""
_LEGEND_SIZE = 8
"""Font size of legends, points."""
_KEY = 4.8 * _LEGEND_SIZE
"""Points that a legend needs for a key and the gaps beside it, with matplotlib's defaults."""

mpl.rcParams.update(
    {
        "font.family": [BASE],
        "font.size": _SIZE,
        "legend.fontsize": _LEGEND_SIZE,
        "legend.title_fontsize": _LEGEND_SIZE,
        "axes.titlesize": _SIZE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e4e4",
        "text.parse_math": False,  # Class names may contain dollars.
        "svg.fonttype": "none",  # Text stays text, and browsers have fonts for any script.
        "svg.hashsalt": "tl-study",  # The same figure gives the same file.
    }
)


@dataclass(frozen=True)
class Value:
    """What a point of a figure stands for; the page shows it at the pointer."""

    axes: Axes
    x: float
    y: float
    text: str
    """Lines; the first says which point it is."""
    at_the_edge: bool = False
    """Whether `y` is a share of the height of the axes, as for failed trials."""

    @property
    def place(self) -> tuple[float, float]:
        """Its place from the lower left corner of the figure, as a share of width and height."""
        axes = self.axes
        to_pixels = axes.get_xaxis_transform() if self.at_the_edge else axes.transData
        figure = axes.get_figure(root=True)
        assert figure
        x, y = figure.transFigure.inverted().transform(to_pixels.transform((self.x, self.y)))
        return float(x), float(y)


class Plot(Figure):
    """A figure that knows what its points stand for."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        self.values: list[Value] = []


def new_figure(title: str, height: float, width: float = WIDTH) -> Plot:
    """Return an empty figure, `width` by `height` inches, independent of pyplot."""
    figure = Plot(width, height)
    lines = [textwrap.fill(printable(line), int(12 * width)) for line in title.splitlines()]
    figure.suptitle("\n".join(lines), fontsize=10)
    return figure


def ratio_axis(axes: Axes, ratios: Iterable[float], labels: Labels) -> None:
    """Make x the training ratio, on a log scale, with the number of images under each ratio."""
    shown = _apart(sorted(set(ratios)))
    axes.set_xscale("log")
    axes.set_xticks(shown, [f"{ratio:g}\n{labels(ratio):.0f}" for ratio in shown])
    axes.minorticks_off()
    if len(shown) == 1:  # With one ratio, a log scale has no width.
        axes.set_xlim(shown[0] / 2, shown[0] * 2)
    axes.set_xlabel("train_ratio, and number of images")


def _apart(ratios: Sequence[float], gap: float = 0.07) -> list[float]:
    """Leave out ratios whose labels would overlap; keep the last."""
    width = math.log(ratios[-1] / ratios[0]) * gap if ratios else 0.0
    kept: list[float] = []
    for ratio in reversed(ratios):
        if not kept or math.log(kept[-1] / ratio) >= width:
            kept.append(ratio)
    return kept[::-1]


def log_x(axes: Axes, show: Callable[[float], str] = "{:g}".format) -> None:
    """Put x on a log scale with few labels; call this after the points are drawn."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    aside = math.sqrt(max(1.0, 6 * low / high))  # A narrower range may lack numbers of one digit.
    axes.set_xlim(low / aside, high * aside)
    axes.xaxis.set_major_locator(RoundNumbers(lambda x: text_width(show(x), _SIZE) + 4))
    axes.xaxis.set_major_formatter(lambda x, _: show(x))
    axes.xaxis.set_minor_formatter("")


def legend_below(figure: Figure, handles: Sequence[Artist], title: str = "") -> None:
    """Put the legend under the axes, where it covers nothing, in as many rows as it needs."""
    widths = [_KEY + text_width(str(handle.get_label()), _LEGEND_SIZE) for handle in handles]
    most = range(min(len(handles), 7), 1, -1)
    width = 72 * figure.get_figwidth() + 2 * _LEGEND_SIZE  # There is no gap after the last column.
    ncols = next((n for n in most if _legend_width(widths, n) <= width), 1)
    rows = math.ceil(len(handles) / ncols)
    ncols = math.ceil(len(handles) / rows)  # So the last row is about as long as the others.
    legend = {"title": title or None, "ncols": ncols, "frameon": False}
    figure.legend(handles=handles, loc="outside lower center", **legend)


def _legend_width(widths: Sequence[float], ncols: int) -> float:
    """The width of a legend whose entries are this wide; it fills its columns from the left."""
    rows, longer = divmod(len(widths), ncols)
    ends = [i * rows + min(i, longer) for i in range(ncols + 1)]
    return sum(max(widths[start:end]) for start, end in pairwise(ends))


def score_axis(axes: Axes, name: str) -> None:
    """Make y a score; an unbounded score has a log scale, so that outliers hide no other point."""
    better = "lower" if direction(name.replace("test_", "val_")) == "min" else "higher"
    between = "\n" if len(name) > _LONG else " "
    axes.set_ylabel(f"{name}{between}({better} is better)")
    if is_unbounded(name):
        axes.set_yscale("log", nonpositive="clip")
        axes.yaxis.set_major_locator(RoundNumbers(lambda _: 1.4 * _SIZE))
        axes.yaxis.set_major_formatter("{x:.10g}")
        axes.yaxis.set_minor_locator(NullLocator())


def is_unbounded(name: str) -> bool:
    """Whether the score has no upper limit and is never negative, so that it needs a log scale.

    The loss of both tasks may be negative where trials learn their weights.
    """
    return name.endswith(("log_loss", "mae"))


def mark_failed(axes: Axes, xs: Sequence[float], mode: Mode) -> None:
    """Mark failed trials, which have no score, along the upper edge."""
    if xs:  # The layout leaves room for an unclipped line even if it is empty.
        color = STYLES[mode]["color"]
        edge = axes.get_xaxis_transform()
        axes.plot(xs, [1.0] * len(xs), "x", color=color, clip_on=False, transform=edge, zorder=5)


def side_by_side(modes: Sequence[Mode]) -> dict[Mode, float]:
    """Return a factor for each mode's x on a log scale, so that modes do not overlap."""
    return {mode: 1.05 ** (i - (len(modes) - 1) / 2) for i, mode in enumerate(modes)}


def status_keys(records: Iterable[TrialRecord]) -> list[Line2D]:
    """Return legend entries for pruned and failed trials, if there are any."""
    there = {record.status for record in records}
    looks: dict[str, dict[str, Any]] = {
        "pruned": {"marker": "o", "markerfacecolor": "none", "label": "hollow: stopped early"},
        "failed": {"marker": "x", "label": "at the upper edge: failed"},
    }
    return [Line2D([], [], linestyle="", color="#333333", **looks[s]) for s in looks if s in there]
