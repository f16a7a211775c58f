"""Errors of the winner: confusion of classes, and calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FixedFormatter

from study.analysis.images.predictions import Bin, Confusion
from study.reporting.figures import style
from study.reporting.figures.fonts import columns, shorten
from tl_core.text import pluralize, printable

_LONGEST = 18
"""Most columns of a class name in a figure."""


def draw_confusion(confusion: Confusion, title: str) -> style.Plot:
    """Draw counts; the shade shows each count's share of its true class."""
    k = len(confusion.names)
    figure = style.new_figure(title, min(7.2, 2.2 + 0.34 * k), min(7.2, 4.2 + 0.34 * k))
    axes = figure.subplots()
    shares = confusion.counts / np.maximum(confusion.counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion.counts):
        if count:
            color = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
            true, predicted = (printable(confusion.names[i]) for i in (row, column))
            images = f"{pluralize(int(count), 'image')}, {100 * shares[row, column]:.1f} %"
            text = f"{true}, predicted as {predicted}\n{images}"
            figure.values.append(style.Value(axes, column, row, text))
    names = [shorten(name, _LONGEST) for name in confusion.names]
    few = k <= 4 and max(map(columns, names)) <= 10
    # Turned around its end, a name ends at its column in any font.
    turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(k), names, **({} if few else turned))
    axes.set_yticks(range(k), names)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FixedFormatter(names))  # `save` puts codes in its names.
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure


def draw_reliability(bins: Sequence[Bin], error: float, title: str) -> style.Plot:
    """Draw accuracy with its interval against confidence, and the number of images in each bin."""
    figure = style.new_figure(title, 4.2, 4.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
    below = [b.accuracy - b.accuracy_low for b in bins]
    above = [b.accuracy_high - b.accuracy for b in bins]
    upper.plot([0, 1], [0, 1], "--", color="#555555", label="perfectly calibrated")
    upper.errorbar(x, y, (below, above), fmt="o-", color="#0072B2", capsize=2.5, label="winner")
    upper.set(ylabel="accuracy", ylim=(0, 1.03))
    figure.values += [
        style.Value(
            upper,
            b.confidence,
            b.accuracy,
            f"confidence {b.low:.2f} to {b.high:.2f}, {pluralize(b.count, 'image')}\n"
            f"mean {b.confidence:.3f}, accuracy {b.accuracy:.3f} "
            f"({b.accuracy_low:.3f} to {b.accuracy_high:.3f})",
        )
        for b in bins
    ]
    style.legend_below(figure, upper.get_legend_handles_labels()[0], f"ECE {error:.3f}")
    widths = [b.high - b.low for b in bins]
    left, counts = [b.low for b in bins], [b.count for b in bins]
    bars = lower.bar(left, counts, widths, align="edge", color="#9ecae1", edgecolor="#0072B2")
    lower.bar_label(bars, fontsize=7)
    lower.margins(y=0.25)
    lower.set(xlabel="confidence (probability of the predicted class)", ylabel="images")
    lower.set_xlim(max(0.0, min(b.low for b in bins) - 0.1), 1.01)
    return figure
