"""Pictures: the article's curves of one trial, and the trials of a study at a glance."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # A study runs where there is no screen.
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.records import TrialRecord, best_of
from tl_core.config import MODES, Metric, Mode

# Okabe and Ito's colours, which the colour-blind can tell apart; markers do so in print.
STYLES: dict[Mode, dict[str, Any]] = {
    "freeze": {"color": "#0072B2", "marker": "o"},
    "finetune": {"color": "#D55E00", "marker": "s"},
    "lp_ft": {"color": "#009E73", "marker": "^"},
    "scratch": {"color": "#777777", "marker": "D"},
}


def plot_curves(record: TrialRecord, title: str, path: Path) -> None:
    """Plot the article's curves: training loss, training and validation accuracy by epoch."""
    epochs = [m.epoch for m in record.history]
    train, val = STYLES["freeze"] | {"label": "training"}, STYLES["finetune"]
    figure, (loss, accuracy) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    loss.plot(epochs, [m.train_loss for m in record.history], **train)
    loss.set(xlabel="epoch", ylabel="training loss")
    loss.set_ylim(bottom=0)
    accuracy.plot(epochs, [m.train_accuracy for m in record.history], **train)
    accuracy.plot(epochs, [m.val_accuracy for m in record.history], "--", label="validation", **val)
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    accuracy.set_ylim(top=1.02)
    accuracy.legend()
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _save(figure, title, path)


def plot_trials(records: list[TrialRecord], metric: Metric, title: str, path: Path) -> None:
    """Plot every trial's metric against its training ratio; a line joins each mode's best."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for mode in MODES:
        _draw_mode(axes, mode, [r for r in records if r.config.mode == mode], metric)
    ratios = sorted({r.config.train_ratio for r in records})
    axes.set_xscale("log")
    axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
    axes.minorticks_off()
    if metric in ("val_log_loss", "val_loss"):
        axes.set_yscale("log")  # One diverging trial would press all others into a line.
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:.2g}")
    axes.set(xlabel="train_ratio (training images as a share of all)", ylabel=metric)
    axes.legend(title="line: best trial of the mode\nhollow: stopped early")
    _save(figure, title, path)


def _draw_mode(axes: Axes, mode: Mode, records: list[TrialRecord], metric: Metric) -> None:
    style = STYLES[mode]
    for status, face in (("done", style["color"]), ("pruned", "none")):
        shown = [r for r in records if r.status == status]
        x = [r.config.train_ratio for r in shown]
        y = [r.value(metric) or 0.0 for r in shown]
        look = {"facecolors": face, "edgecolors": style["color"], "marker": style["marker"]}
        axes.scatter(x, y, 26, alpha=0.5, **look)
    by_ratio = {r.config.train_ratio: r for r in records}
    best = [best_of([r for r in records if r.config.train_ratio == x], metric) for x in by_ratio]
    line = sorted((b.config.train_ratio, b.value(metric)) for b in best if b)
    if line:
        axes.plot(*zip(*line, strict=True), label=mode, linewidth=1.8, **style)


def _save(figure: Figure, title: str, path: Path) -> None:
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)
    plt.close(figure)
