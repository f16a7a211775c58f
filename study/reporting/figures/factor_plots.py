"""What the search saw of its factors one by one: learning rate, auxiliary weight, importances."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from study.records.trial_record import TrialRecord
from study.reporting.figures.style import (
    STYLES,
    legend_below,
    log_x,
    mark_failed,
    modes_of,
    new_figure,
    power_of_ten,
    score_axis,
    status_keys,
)
from tl_core.config import Metric

Value = Callable[[TrialRecord], float]
AUTO = 1.1
"""Where a weight that a trial learned stands on an axis of weights, which ends at 1."""


def draw_learning_rates(records: Sequence[TrialRecord], metric: Metric, title: str) -> Figure:
    """Draw the metric against the learning rate, a panel a mode, coloured by training ratio."""
    modes = modes_of(records)
    colors = _ratio_colors(records)
    figure = new_figure(title, 3.2)
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    for axes, mode in zip(panels, modes, strict=True):
        shown = [r for r in records if r.config.mode == mode]
        _scatter(axes, shown, _lr, _score(metric), lambda r: colors[r.config.train_ratio])
        log_x(axes, power_of_ten)
        axes.set_xlabel("lr")
        mark_failed(axes, [_lr(r) for r in shown if r.status == "failed"], mode)
        axes.set_title(mode)
        score_axis(axes, metric)
        axes.label_outer()
    keys = [_key(f"{ratio:g}", color) for ratio, color in colors.items()]
    legend_below(figure, keys + status_keys(records), "train_ratio")
    return figure


def draw_aux_weights(records: Sequence[TrialRecord], metric: Metric, title: str) -> Figure:
    """Draw classification and brightness error over the auxiliary weight, and against each other.

    `metric` scores the classification. The larger a point, the more training images it had.
    """
    figure = new_figure(title, 3.3)
    left, middle, right = figure.subplots(1, 3)
    for axes, score in ((left, metric), (middle, "val_brightness_mae")):
        _scatter(axes, records, aux_position, _score(score), _mode_color)
        axes.set_xlabel("aux_weight")
        score_axis(axes, score)
        if any(isinstance(r.config.aux_weight, str) for r in records):
            axes.set_xticks([0, 0.5, 1, AUTO], ["0", "0.5", "1", " auto"])
    shades = mpl.colormaps["viridis"]
    brightness = _score("val_brightness_mae")
    _scatter(right, records, brightness, _score(metric), lambda r: shades(aux_position(r)))
    log_x(right)
    right.set_xlabel("val_brightness_mae")
    score_axis(right, metric)
    figure.colorbar(ScalarMappable(Normalize(0, 1), shades), ax=right, label="aux_weight")
    keys = [_key(mode, STYLES[mode]["color"], STYLES[mode]["marker"]) for mode in modes_of(records)]
    legend_below(figure, keys + status_keys(r for r in records if r.history))
    return figure


def draw_importances(importances: Mapping[str, float], title: str) -> Figure:
    """Draw each parameter's share as a bar, the largest on top."""
    figure = new_figure(title, 0.9 + 0.28 * len(importances))
    axes = figure.subplots()
    names = list(importances)[::-1]
    bars = axes.barh(names, [importances[name] for name in names], color="#0072B2")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlim(0, 1.1 * max(importances.values()))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("importance (1 in all)")
    return figure


def aux_position(record: TrialRecord) -> float:
    """Return the auxiliary weight as a place on an axis."""
    weight = record.config.aux_weight
    return AUTO if isinstance(weight, str) else weight


def _scatter(
    axes: Axes, records: Sequence[TrialRecord], x: Value, y: Value, color: Callable[..., Any]
) -> None:
    """A point a trial that has scores: full if it ran to its end, hollow if it was stopped."""
    alpha = min(0.7, max(0.25, 60 / max(len(records), 1)))  # Many points are fainter each.
    sizes = {ratio: 14 + 8 * min(i, 10) for i, ratio in enumerate(_ratios(records))}
    for mode, status in itertools.product(modes_of(records), ("done", "pruned")):
        shown = [r for r in records if r.config.mode == mode and r.status == status and r.history]
        colors = [color(record) for record in shown]
        axes.scatter(
            [x(record) for record in shown],
            [y(record) for record in shown],
            [sizes[record.config.train_ratio] for record in shown],
            facecolors=colors if status == "done" else "none",
            edgecolors=colors,
            marker=STYLES[mode]["marker"],
            alpha=alpha,
        )


def _lr(record: TrialRecord) -> float:
    return record.config.lr


def _score(metric: Metric) -> Value:
    return lambda record: record.value(metric) or 0.0


def _mode_color(record: TrialRecord) -> str:
    return str(STYLES[record.config.mode]["color"])


def _ratios(records: Sequence[TrialRecord]) -> list[float]:
    return sorted({r.config.train_ratio for r in records})


def _ratio_colors(records: Sequence[TrialRecord]) -> dict[float, Any]:
    """From light for few labels to dark for many; the lightest of all would vanish on white."""
    ratios = _ratios(records)
    shades = mpl.colormaps["viridis_r"]
    return {ratio: shades(0.12 + 0.88 * (i + 1) / len(ratios)) for i, ratio in enumerate(ratios)}


def _key(label: str, color: Any, marker: str = "o") -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=color, label=label)
