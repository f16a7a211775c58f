"""The look of every figure: colours, markers, axes, and how it is saved."""

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from study.records.trial_record import TrialRecord
from tl_core.config import DIRECTIONS, MODES, Metric, Mode

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
# Class names may be in any script; DejaVu Sans has no Chinese, Japanese or Korean.
_FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "Microsoft YaHei")
_NOT_IN_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")

mpl.rcParams.update(
    {
        "font.family": [font for font in _FONTS if font in font_manager.get_font_names()],
        "font.size": 9,
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e4e4",
        "text.parse_math": False,  # Class names may contain dollars.
        "svg.hashsalt": "tl-study",  # The same figure gives the same file.
    }
)


def new_figure(title: str, height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, `width` by `height` inches, independent of pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    lines = [textwrap.fill(line, int(12 * width)) for line in title.splitlines()]
    figure.suptitle("\n".join(lines), fontsize=10)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format of the path's suffix."""
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    if path.suffix == ".svg":  # Its comments repeat each text, and XML forbids these.
        path.write_bytes(_NOT_IN_XML.sub(b"?", path.read_bytes()))


def ratio_axis(axes: Axes, ratios: Iterable[float], images: int) -> None:
    """Make x the training ratio, on a log scale, with the number of images under each ratio."""
    shown = _apart(sorted(set(ratios)))
    axes.set_xscale("log")
    axes.set_xticks(shown, [f"{ratio:g}\n{ratio * images:.0f}" for ratio in shown])
    axes.minorticks_off()
    if len(shown) == 1:  # With one ratio, a log scale has no width.
        axes.set_xlim(shown[0] / 2, shown[0] * 2)
    axes.set_xlabel("train_ratio (training images as a share of all), and their number")


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
    if high < 4 * low:  # There may be no round number between them.
        axes.set_xlim(low / 1.5, high * 1.5)
        subs: Sequence[float] = range(1, 10)
    else:
        subs = (1, 2, 5) if high < 10 * low else (1, 3) if high < 100 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(lambda x, _: show(x))
    axes.xaxis.set_minor_formatter("")


def legend_below(figure: Figure, handles: Sequence[Artist], title: str = "") -> None:
    """Put the legend under the axes, where it covers nothing."""
    legend = {"title": title or None, "ncols": min(len(handles), 7), "frameon": False}
    figure.legend(handles=handles, loc="outside lower center", **legend)


def score_axis(axes: Axes, name: str) -> None:
    """Make y a score; an unbounded score has a log scale, so that outliers hide no other point."""
    metric: Metric = name.replace("test_", "val_")  # type: ignore[assignment]
    better = "lower" if DIRECTIONS[metric] == "min" else "higher"
    axes.set_ylabel(f"{name} ({better} is better)")
    if is_unbounded(name):
        axes.set_yscale("log", nonpositive="clip")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
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


def modes_of(records: Iterable[TrialRecord]) -> list[Mode]:
    """Return the modes of the records, in the order of `MODES`."""
    there = {record.config.mode for record in records}
    return [mode for mode in MODES if mode in there]
