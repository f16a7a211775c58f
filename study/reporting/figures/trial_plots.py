"""The article's curves of one trial, the trials of a study at a glance, and what labels buy."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.analysis.estimates import CellSummary
from study.records.trial_record import TrialRecord, best_of
from study.reporting.figures.style import (
    STYLES,
    legend_below,
    mark_failed,
    modes_of,
    new_figure,
    ratio_axis,
    score_axis,
    side_by_side,
    status_keys,
)
from tl_core.config import MODES, Metric


def draw_curves(record: TrialRecord, title: str) -> Figure:
    """Draw the article's curves: training loss, training and validation accuracy by epoch."""
    epochs = [m.epoch for m in record.history]
    train, val = STYLES["freeze"] | {"label": "training"}, STYLES["finetune"]
    figure = new_figure(title, 3.0)
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [m.train_loss for m in record.history], **train)
    loss.set(xlabel="epoch", ylabel="training loss")
    loss.set_ylim(bottom=0)
    accuracy.plot(epochs, [m.train_accuracy for m in record.history], **train)
    accuracy.plot(epochs, [m.val_accuracy for m in record.history], "--", label="validation", **val)
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    accuracy.set_ylim(top=1.02)
    legend_below(figure, accuracy.get_legend_handles_labels()[0])
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def draw_trials(records: list[TrialRecord], metric: Metric, images: int, title: str) -> Figure:
    """Draw every trial's metric against its training ratio; a line joins each mode's best.

    Args:
        records: trials of the search.
        metric: what the search went by, on validation.
        images: size of the whole data set.
        title: above the figure.
    """
    figure = new_figure(title, 4.2)
    axes = figure.subplots()
    for mode, aside in side_by_side(modes_of(records)).items():
        _draw_mode(axes, [r for r in records if r.config.mode == mode], metric, aside)
    ratio_axis(axes, [r.config.train_ratio for r in records], images)
    score_axis(axes, metric)
    lines, _ = axes.get_legend_handles_labels()
    legend_below(figure, [*lines, *status_keys(records)], "lines join the best trials")
    return figure


def _draw_mode(axes: Axes, records: list[TrialRecord], metric: Metric, aside: float) -> None:
    mode = records[0].config.mode
    style = STYLES[mode]
    for status, face in (("done", style["color"]), ("pruned", "none")):
        shown = [r for r in records if r.status == status and r.history]
        x = [r.config.train_ratio * aside for r in shown]
        y = [r.value(metric) or 0.0 for r in shown]
        look = {"facecolors": face, "edgecolors": style["color"], "marker": style["marker"]}
        axes.scatter(x, y, 26, alpha=0.5, **look)
    failed = [r.config.train_ratio * aside for r in records if r.status == "failed"]
    mark_failed(axes, failed, mode)
    ratios = sorted({r.config.train_ratio for r in records})
    best = [best_of([r for r in records if r.config.train_ratio == x], metric) for x in ratios]
    line = [(b.config.train_ratio * aside, b.value(metric)) for b in best if b]
    if line:
        axes.plot(*zip(*line, strict=True), label=mode, linewidth=1.8, **style)


def draw_label_efficiency(
    cells: Sequence[CellSummary], scores: Sequence[str], images: int, title: str
) -> Figure:
    """Draw mean test scores with their intervals against the training ratio, one line a mode.

    Args:
        cells: what confirming trials found.
        scores: names of test scores, one panel each.
        images: size of the whole data set.
        title: above the figure.
    """
    figure = new_figure(title, 3.4)
    panels = figure.subplots(1, len(scores), squeeze=False)[0]
    modes = [mode for mode in MODES if any(cell.mode == mode for cell in cells)]
    for axes, score in zip(panels, scores, strict=True):
        for mode, aside in side_by_side(modes).items():
            _draw_cells(axes, [cell for cell in cells if cell.mode == mode], score, aside)
        ratio_axis(axes, [cell.train_ratio for cell in cells], images)
        axes.set_xlabel("train_ratio, and number of images")
        score_axis(axes, score)
    legend_below(figure, panels[0].get_legend_handles_labels()[0], "mean and 95 % interval")
    return figure


def _draw_cells(axes: Axes, cells: Sequence[CellSummary], score: str, aside: float) -> None:
    cells = sorted(cells, key=lambda cell: cell.train_ratio)
    estimates = [cell.scores[score] for cell in cells]
    x = [cell.train_ratio * aside for cell in cells]
    y = [e.mean for e in estimates]
    below = [e.mean - e.low if e.low is not None else 0.0 for e in estimates]
    above = [e.high - e.mean if e.high is not None else 0.0 for e in estimates]
    style = STYLES[cells[0].mode]
    axes.errorbar(x, y, (below, above), label=cells[0].mode, capsize=2.5, markersize=5, **style)
    borrowed = [i for i, cell in enumerate(cells) if cell.borrowed_from is not None]
    hollow = {"linestyle": "", "markersize": 5, "markerfacecolor": "white", "zorder": 3}
    axes.plot([x[i] for i in borrowed], [y[i] for i in borrowed], **style | hollow)
