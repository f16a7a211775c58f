"""Score against each factor of the search: learning rate, auxiliary weight, importances."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from study.records.trial_record import ENDED, TrialRecord, modes_of
from study.reporting.figures import style
from study.reporting.figures.values import Labels, trial_text
from tl_core.aux_task import AuxTask
from tl_core.config import Metric

AUTO = 1.1
"""Position of a learned weight on an axis of weights, which ends at 1."""


def draw_learning_rates(
    records: Sequence[TrialRecord], metric: Metric, labels: Labels, title: str
) -> style.Plot:
    """Draw the metric against the learning rate, a panel a mode, coloured by training ratio.

    A probe has none; at least one record that has ended must be of another mode. A mode of which
    all trials were cut off would have an empty panel, whose log scale has no ticks.
    """
    records = [r for r in records if r.config.lr is not None and r.status in ENDED]
    modes, ratios = modes_of(records), sorted({r.config.train_ratio for r in records})
    shades = mpl.colormaps["viridis_r"]
    # From light for few labels to dark for many; the lightest of all is invisible on white.
    colors = {x: shades(0.12 + 0.88 * (i + 1) / len(ratios)) for i, x in enumerate(ratios)}
    figure = style.new_figure(title, 3.2)
    panels = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    for axes, mode in zip(panels, modes, strict=True):
        shown = [r for r in records if r.config.mode == mode]
        figure.values += _scatter(
            axes, shown, _rate, metric, labels, lambda r: colors[r.config.train_ratio]
        )
        style.log_x(axes, lambda x: f"{x:.0e}".replace("e-0", "e-"))  # As 1e-4.
        axes.set_xlabel("lr")
        style.mark_failed(axes, [_rate(r) for r in shown if r.status == "failed"], mode)
        axes.set_title(mode)
        style.score_axis(axes, metric)
        axes.label_outer()
    keys = [_key(f"{ratio:g}", color) for ratio, color in colors.items()]
    style.legend_below(figure, keys + style.status_keys(records), "train_ratio")
    return figure


def draw_aux_weights(
    records: Sequence[TrialRecord], metric: Metric, task: AuxTask, labels: Labels, title: str
) -> style.Plot:
    """Draw the scores of both tasks over the auxiliary weight, and against each other.

    `metric` scores the classification. Larger points have more training images.
    """
    figure = style.new_figure(title, 3.3)
    left, middle, right = figure.subplots(1, 3)
    own = f"val_{task.scores[0]}"
    scores: list[tuple[Axes, str]] = [(left, metric), (middle, own)]
    for axes, score in scores:
        figure.values += _scatter(
            axes,
            records,
            aux_position,
            score,
            labels,
            lambda r: style.STYLES[r.config.mode]["color"],
        )
        axes.set_xlabel("aux_weight")
        style.score_axis(axes, score)
        if any(isinstance(r.config.aux_weight, str) for r in records):
            axes.set_xticks([0, 0.5, 1, AUTO], ["0", "0.5", "1", " auto"])
    shades = mpl.colormaps["viridis"]
    color_of = Normalize(0, max(map(aux_position, records)) or 1)
    figure.values += _scatter(
        right,
        records,
        lambda r: r.value(own) or 0.0,
        metric,
        labels,
        lambda r: shades(color_of(aux_position(r))),
    )
    if style.is_unbounded(own):
        style.log_x(right)
    right.set_xlabel(own)
    style.score_axis(right, metric)
    figure.colorbar(ScalarMappable(color_of, shades), ax=right, label="aux_weight")
    keys = [
        _key(mode, style.STYLES[mode]["color"], style.STYLES[mode]["marker"])
        for mode in modes_of(records)
    ]
    style.legend_below(figure, keys + style.status_keys(r for r in records if r.history))
    return figure


def draw_importances(importances: Mapping[str, float], title: str) -> style.Plot:
    """Draw each parameter's share as a bar, the largest on top."""
    figure = style.new_figure(title, 0.9 + 0.28 * len(importances))
    axes = figure.subplots()
    names = list(importances)[::-1]
    bars = axes.barh(names, [importances[name] for name in names], color="#0072B2")
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_xlim(0, 1.1 * max(importances.values()))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the importances of all factors")
    return figure


def aux_position(record: TrialRecord) -> float:
    """Return the auxiliary weight as a position on an axis."""
    weight = record.config.aux_weight
    return AUTO if isinstance(weight, str) else weight


def _rate(record: TrialRecord) -> float:
    assert record.config.lr is not None
    return record.config.lr


def _scatter(
    axes: Axes,
    records: Sequence[TrialRecord],
    x: Callable[[TrialRecord], float],
    metric: str,
    labels: Labels,
    color: Callable[[TrialRecord], Any],
) -> list[style.Value]:
    """Draw a point for each trial with a score: filled if it finished, hollow if pruned.

    Returns what they say.
    """
    values = []
    alpha = min(0.7, max(0.25, 60 / max(len(records), 1)))  # Many points are fainter.
    ratios = sorted({r.config.train_ratio for r in records})
    for mode in modes_of(records):
        for status in ("done", "pruned"):
            shown = [
                r for r in records if r.config.mode == mode and r.status == status and r.history
            ]
            colors = [color(r) for r in shown]
            axes.scatter(
                [x(r) for r in shown],
                [r.value(metric) or 0.0 for r in shown],
                [14 + 8 * min(ratios.index(r.config.train_ratio), 10) for r in shown],
                facecolors=colors if status == "done" else "none",
                edgecolors=colors,
                marker=style.STYLES[mode]["marker"],
                alpha=alpha,
            )
            values += [
                style.Value(axes, x(r), r.value(metric) or 0.0, trial_text(r, metric, labels))
                for r in shown
            ]
    return sorted(values, key=lambda value: (value.x, value.y))


def _key(label: str, color: Any, marker: str = "o") -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, color=color, label=label)
