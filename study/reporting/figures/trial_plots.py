"""Training curves of one trial, all trials of a study, and label efficiency."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from study.analysis.estimates import CellSummary
from study.analysis.extrapolation import TIMES, Extrapolation
from study.answers.phrases import show_number
from study.records.trial_record import TrialRecord, best_of, modes_of
from study.reporting.figures import style
from study.reporting.figures.values import Labels, cell_text, expected_text, trial_text
from tl_core.config import MODES, Metric, Mode

_ROOM = 1.08
"""Height of axes, as a multiple of what they show, so that no marker is cut."""


def draw_curves(record: TrialRecord, title: str) -> style.Plot:
    """Draw training loss, and training and validation accuracy, by step.

    Earlier versions recorded no steps: then by epoch.
    """
    unit = "epoch" if any(m.step is None for m in record.history) else "step"
    x = [getattr(m, unit) for m in record.history]
    losses = [m.train_loss for m in record.history]
    train, val = style.STYLES["freeze"] | {"label": "training"}, style.STYLES["finetune"]
    figure = style.new_figure(title, 3.0)
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(x, losses, **train)
    loss.set(xlabel=unit, ylabel="training loss")
    if min(losses) >= 0 < max(losses):  # A loss with learned weights may be negative.
        loss.set_ylim(0, _ROOM * max(losses))
    accuracy.plot(x, [m.train_accuracy for m in record.history], **train)
    accuracy.plot(x, [m.val_accuracy for m in record.history], "--", label="validation", **val)
    accuracy.set(xlabel=unit, ylabel="accuracy")
    least = min(min(m.train_accuracy, m.val_accuracy) for m in record.history)
    accuracy.set_ylim(1.02 - _ROOM * (1.02 - least), 1.02)
    for at, m in zip(x, record.history, strict=True):
        for panel, name in (
            (loss, "train_loss"),
            (accuracy, "train_accuracy"),
            (accuracy, "val_accuracy"),
        ):
            value = getattr(m, name)
            text = f"{unit} {at:,}\n{name} {show_number(value)}"
            figure.values.append(style.Value(panel, at, value, text))
    style.legend_below(figure, accuracy.get_legend_handles_labels()[0])
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    return figure


def draw_trials(
    records: list[TrialRecord], metric: Metric, labels: Labels, title: str
) -> style.Plot:
    """Draw the metric of each search trial by training ratio; lines join each mode's best."""
    figure = style.new_figure(title, 4.2)
    axes = figure.subplots()
    for mode, aside in style.side_by_side(modes_of(records)).items():
        here = [r for r in records if r.config.mode == mode]
        _draw_mode(axes, here, metric, aside)
        figure.values += _trial_values(axes, here, metric, labels, aside)
    style.ratio_axis(axes, [r.config.train_ratio for r in records], labels)
    style.score_axis(axes, metric)
    lines, _ = axes.get_legend_handles_labels()
    joined = "lines join the best trials" if is_joined(records, metric) else ""
    style.legend_below(figure, [*lines, *style.status_keys(records)], joined)
    return figure


def is_joined(records: Sequence[TrialRecord], metric: Metric) -> bool:
    """Whether a mode has best trials at several ratios, which a line joins."""
    by_mode = ([r for r in records if r.config.mode == mode] for mode in modes_of(records))
    return any(len(_best(here, metric)) > 1 for here in by_mode)


def _best(records: Sequence[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """The best trial at each ratio that has one."""
    ratios = sorted({r.config.train_ratio for r in records})
    found = (best_of([r for r in records if r.config.train_ratio == x], metric) for x in ratios)
    return [record for record in found if record]


def _draw_mode(axes: Axes, records: list[TrialRecord], metric: Metric, aside: float) -> None:
    mode = records[0].config.mode
    look = style.STYLES[mode]
    for status, face in (("done", look["color"]), ("pruned", "none")):
        shown = [r for r in records if r.status == status and r.history]
        x = [r.config.train_ratio * aside for r in shown]
        y = [r.value(metric) or 0.0 for r in shown]
        colors = {"facecolors": face, "edgecolors": look["color"]}
        axes.scatter(x, y, 26, alpha=0.5, marker=look["marker"], **colors)
    failed = [r.config.train_ratio * aside for r in records if r.status == "failed"]
    style.mark_failed(axes, failed, mode)
    line = [(r.config.train_ratio * aside, r.value(metric)) for r in _best(records, metric)]
    if line:
        axes.plot(*zip(*line, strict=True), label=mode, linewidth=1.8, **look)


def _trial_values(
    axes: Axes, records: Sequence[TrialRecord], metric: Metric, labels: Labels, aside: float
) -> Iterator[style.Value]:
    """Yield what each point says, by ratio and score."""
    shown = [r for r in records if r.status == "failed" or (r.value(metric) is not None)]
    shown = [r for r in shown if r.status in ("done", "pruned", "failed")]
    for r in sorted(shown, key=lambda r: (r.config.train_ratio, r.value(metric) or 0.0)):
        failed = r.status == "failed"
        x, y = r.config.train_ratio * aside, 1.0 if failed else r.value(metric) or 0.0
        yield style.Value(axes, x, y, trial_text(r, metric, labels), at_the_edge=failed)


def draw_label_efficiency(
    cells: Sequence[CellSummary], scores: Sequence[str], labels: Labels, title: str,
    beyond: Sequence[Extrapolation] = (),
) -> style.Plot:  # fmt: skip
    """Draw mean test scores with intervals against the training ratio, one line for each mode.

    Each of `scores` has a panel. The score that is expected `beyond` the largest ratio goes on
    there, dashed.
    """
    figure = style.new_figure(title, 3.4)
    panels = figure.subplots(1, len(scores), squeeze=False)[0]
    modes = [mode for mode in MODES if any(cell.mode == mode for cell in cells)]
    for axes, score in zip(panels, scores, strict=True):
        for mode, aside in style.side_by_side(modes).items():
            here = sorted((c for c in cells if c.mode == mode), key=lambda c: c.train_ratio)
            _draw_cells(axes, here, score, aside)
            figure.values += [
                style.Value(
                    axes, c.train_ratio * aside, c.scores[score].mean, cell_text(c, score, labels)
                )
                for c in here
            ]
        style.ratio_axis(axes, [cell.train_ratio for cell in cells], labels)
        style.score_axis(axes, score)
        for found in beyond:
            if found.score == score:
                figure.values += _draw_beyond(axes, found, labels, modes)
    style.legend_below(figure, panels[0].get_legend_handles_labels()[0], "mean and 95 % interval")
    return figure


def _draw_cells(axes: Axes, cells: Sequence[CellSummary], score: str, aside: float) -> None:
    estimates = [cell.scores[score] for cell in cells]
    x = [cell.train_ratio * aside for cell in cells]
    y = [e.mean for e in estimates]
    below = [e.mean - e.low if e.low is not None else 0.0 for e in estimates]
    above = [e.high - e.mean if e.high is not None else 0.0 for e in estimates]
    look = style.STYLES[cells[0].mode]
    axes.errorbar(x, y, (below, above), label=cells[0].mode, capsize=2.5, markersize=5, **look)
    borrowed = [i for i, cell in enumerate(cells) if cell.borrowed_from is not None]
    hollow = {"linestyle": "", "markersize": 5, "markerfacecolor": "white", "zorder": 3}
    axes.plot([x[i] for i in borrowed], [y[i] for i in borrowed], **look | hollow)


def _draw_beyond(
    axes: Axes, found: Extrapolation, labels: Labels, modes: Sequence[Mode]
) -> list[style.Value]:
    """Draw a mode's curve beyond its largest ratio; return what its points say.

    It begins on the curve, not at the score that was seen, which may lie above the next points.
    """
    aside = style.side_by_side(modes)[found.mode]
    first = found.levels[TIMES[0]].mean - found.gains[TIMES[0]].mean
    points = {1: first} | {times: e.mean for times, e in found.levels.items()}
    x = [found.train_ratio * times * aside for times in points]
    look = style.STYLES[found.mode] | {"linestyle": "--", "marker": "", "alpha": 0.7}
    axes.plot(x, list(points.values()), **look)
    return [
        style.Value(axes, found.train_ratio * n * aside, points[n], expected_text(found, n, labels))
        for n in found.levels
    ]
