"""How every figure looks: colours, markers, axes, and how it becomes a file."""

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

# Okabe and Ito's colours, which the colour-blind can tell apart; markers do so in print.
STYLES: dict[Mode, dict[str, Any]] = {
    "freeze": {"color": "#0072B2", "marker": "o"},
    "finetune": {"color": "#D55E00", "marker": "s"},
    "lp_ft": {"color": "#009E73", "marker": "^"},
    "scratch": {"color": "#000000", "marker": "D"},
}
WIDTH = 7.2
"""Inches; A4 between its margins, so that fonts print in the size that they are set in."""
# Names of classes may be in any script; DejaVu Sans has no Chinese, Japanese or Korean.
_FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "Microsoft YaHei")
_NOT_IN_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")

mpl.rcParams.update(
    {
        "font.family": [
            f for f in _FONTS if f in {e.name for e in font_manager.fontManager.ttflist}
        ],
        "font.size": 9,
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e4e4",
        "text.parse_math": False,  # A dollar in the name of a class is a dollar.
        "svg.hashsalt": "tl-study",  # The same figure is the same file.
    }
)


def new_figure(title: str, height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, `width` by `height` inches; no window and no state of pyplot's."""
    figure = Figure(figsize=(width, height), layout="constrained")
    lines = [textwrap.fill(line, int(12 * width)) for line in title.splitlines()]
    figure.suptitle("\n".join(lines), fontsize=10)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write the figure in the format of the path's suffix."""
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    if path.suffix == ".svg":  # Its comments repeat each text; XML may hold no such character.
        path.write_bytes(_NOT_IN_XML.sub(b"?", path.read_bytes()))


def ratio_axis(axes: Axes, ratios: Iterable[float], images: int) -> None:
    """Make x the training ratio, on a log scale, with the number of images below each ratio."""
    shown = _apart(sorted(set(ratios)))
    axes.set_xscale("log")
    axes.set_xticks(shown, [f"{ratio:g}\n{ratio * images:.0f}" for ratio in shown])
    axes.minorticks_off()
    if len(shown) == 1:  # One ratio gives a log scale no width of its own.
        axes.set_xlim(shown[0] / 2, shown[0] * 2)
    axes.set_xlabel("train_ratio (training images as a share of all), and their number")


def _apart(ratios: Sequence[float], gap: float = 0.07) -> list[float]:
    """Leave out ratios whose labels would run into each other; keep the last."""
    width = math.log(ratios[-1] / ratios[0]) * gap if ratios else 0.0
    kept: list[float] = []
    for ratio in reversed(ratios):
        if not kept or math.log(kept[-1] / ratio) >= width:
            kept.append(ratio)
    return kept[::-1]


def log_x(axes: Axes, show: Callable[[float], str] = "{:g}".format) -> None:
    """Put x on a log scale with few labels; to be called once the points are there."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if high < 4 * low:  # So close that there may be no round number between them.
        axes.set_xlim(low / 1.5, high * 1.5)
        subs: Sequence[float] = range(1, 10)
    else:
        subs = (1, 2, 5) if high < 10 * low else (1, 3) if high < 100 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(lambda x, _: show(x))
    axes.xaxis.set_minor_formatter("")


def power_of_ten(x: float) -> str:
    """Write a learning rate as short as can be, such as 1e-4."""
    return f"{x:.0e}".replace("e-0", "e-")


def legend_below(figure: Figure, handles: Sequence[Artist], title: str = "") -> None:
    """Put the legend under the axes, where it hides nothing."""
    figure.legend(
        handles=handles,
        title=title or None,
        loc="outside lower center",
        ncols=min(len(handles), 7),
        frameon=False,
    )


def score_axis(axes: Axes, name: str) -> None:
    """Make y a score; without an upper bound on a log scale, where an outlier hides no other."""
    axes.set_ylabel(score_label(name))
    if is_unbounded(name):
        axes.set_yscale("log", nonpositive="clip")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())


def score_label(name: str) -> str:
    """Return the score's name and which way is better."""
    metric: Metric = name.replace("test_", "val_")  # type: ignore[assignment]
    return f"{name} ({'lower' if DIRECTIONS[metric] == 'min' else 'higher'} is better)"


def is_unbounded(name: str) -> bool:
    """Whether the score can be of any size above zero, so that it needs a log scale.

    The loss of both tasks can't: where trials learn their weights, it may be negative.
    """
    return name.endswith(("log_loss", "mae"))


def mark_failed(axes: Axes, xs: Sequence[float], mode: Mode) -> None:
    """Mark failed trials, which have no score, along the upper edge."""
    if xs:  # Nothing, not clipped, would be taken for something far outside by the layout.
        color = STYLES[mode]["color"]
        edge = axes.get_xaxis_transform()
        axes.plot(xs, [1.0] * len(xs), "x", color=color, clip_on=False, transform=edge, zorder=5)


def side_by_side(modes: Sequence[Mode]) -> dict[Mode, float]:
    """Return a factor for each mode's x on a log scale, so that modes don't cover each other."""
    return {mode: 1.05 ** (i - (len(modes) - 1) / 2) for i, mode in enumerate(modes)}


def status_keys(records: Iterable[TrialRecord]) -> list[Line2D]:
    """Legend entries for the looks of trials that did not end well, if there are any."""
    there = {record.status for record in records}
    looks: dict[str, dict[str, Any]] = {
        "pruned": {"marker": "o", "markerfacecolor": "none", "label": "hollow: stopped early"},
        "failed": {"marker": "x", "label": "at the upper edge: failed"},
    }
    return [Line2D([], [], linestyle="", color="#333333", **looks[s]) for s in looks if s in there]


def modes_of(records: Iterable[TrialRecord]) -> list[Mode]:
    """Return the modes that occur, in their usual order."""
    there = {record.config.mode for record in records}
    return [mode for mode in MODES if mode in there]
