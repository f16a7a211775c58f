"""Parallel coordinates: all factors and the score in one figure, one line for each trial."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from study.analysis.importances import BEST
from study.answers.phrases import share
from study.records.trial_record import TrialRecord, modes_of
from study.reporting.figures import style
from study.reporting.figures.factor_plots import aux_position
from study.reporting.figures.log_ticks import round_numbers
from study.reporting.figures.values import Labels, trial_text
from tl_core.config import Metric, direction

_LABEL = 0.1
"""Height of a label as a share of that of the axes."""
_BOLD = 2.0
"""Width of the best lines, points."""


@dataclass(frozen=True)
class Scale:
    """One of the vertical axes."""

    name: str
    height: Callable[[TrialRecord], float]
    """Height of a trial on it, from 0 at the bottom to 1 at the top; nan if it has no such factor.
    """
    ticks: dict[float, str]
    """Labels by height."""


def draw_parallel(
    records: Sequence[TrialRecord], metric: Metric, labels: Labels, title: str
) -> style.Plot:
    """Draw mode, ratio, learning rate, auxiliary weight and score; better scores are higher.

    A line has a gap at a factor that its trial lacks, as probes have no learning rate.
    The best `BEST` of the finished trials are bold. Pruned trials are dotted; failed ones end
    before the score with a cross. The end of each line says which trial it is.
    """
    figure = style.new_figure(title, 4.0)
    axes = figure.subplots()
    shown = [r for r in records if r.status in ("done", "pruned", "failed")]
    scales = _scales(shown, metric)
    done = [r for r in shown if r.status == "done"]
    done.sort(key=lambda r: r.cost(metric))
    bold = {r.trial for r in done[: max(1, round(BEST * len(done)))]}
    for record in shown:
        x, y = _draw_line(axes, record, scales, record.trial in bold, len(shown))
        figure.values.append(style.Value(axes, x, y, trial_text(record, metric, labels)))
    figure.values.sort(key=lambda value: -value.y)
    _draw_scales(axes, scales)
    style.legend_below(figure, _keys(shown))
    return figure


def _scales(records: Sequence[TrialRecord], metric: Metric) -> list[Scale]:
    modes = modes_of(records)[::-1]
    ratios = sorted({r.config.train_ratio for r in records})
    ended = [r.value(metric) for r in records if r.status != "failed"]
    scores = [value for value in ended if value is not None]
    labels = [f"{ratio:g}" for ratio in ratios]
    rates = [rate for r in records if (rate := r.config.lr) is not None]
    return [
        _choices("mode", lambda r: modes.index(r.config.mode), modes),
        _choices("train_ratio", lambda r: ratios.index(r.config.train_ratio), labels),
        *([_numbers("lr", lambda r: r.config.lr, rates, log=True)] if rates else []),
        _numbers("aux_weight", aux_position, [aux_position(r) for r in records]),
        _numbers(
            metric,
            lambda r: r.value(metric) or 0.0,
            scores,
            log=style.is_unbounded(metric) and min(scores, default=1) > 0,
            falling=direction(metric) == "min",
        ),
    ]


def _choices(name: str, index: Callable[[TrialRecord], int], labels: Sequence[str]) -> Scale:
    """Spread trials of the same choice slightly, so that their lines do not overlap."""
    step = 1 / max(len(labels) - 1, 1)
    heights = [i * step for i in range(len(labels))] if len(labels) > 1 else [0.5]

    def height(record: TrialRecord) -> float:
        aside = (record.trial * 0.618) % 1 - 0.5  # The golden ratio spreads any count evenly.
        return heights[index(record)] + 0.3 * min(step, 0.3) * aside

    return Scale(name, height, dict(zip(heights, labels, strict=False)))


def _numbers(
    name: str,
    value: Callable[[TrialRecord], float | None],
    values: Sequence[float],
    log: bool = False,
    falling: bool = False,
) -> Scale:
    low, high = min(values, default=1.0), max(values, default=1.0)
    scaled = (lambda x: math.log(x)) if log else (lambda x: x)
    width = scaled(high) - scaled(low)

    def height(x: float) -> float:
        share = (scaled(x) - scaled(low)) / width if width else 0.5
        return 1 - share if falling else share

    digits = ".10g" if low < high else ".3g"
    ticks = {height(x): f"{x:{digits}}" for x in _ticks(low, high, log) if low <= x <= high}

    def height_of(record: TrialRecord) -> float:
        found = value(record)
        return math.nan if found is None else height(found)

    return Scale(name, height_of, ticks)


def _ticks(low: float, high: float, log: bool) -> list[float]:
    """Return round numbers of the range, or the value itself if there is only one."""
    if low == high:
        return [low]
    if log:
        return round_numbers(low, high, 1.0, lambda _: _LABEL)
    return [float(f"{x:.10g}") for x in MaxNLocator(5).tick_values(low, high)]


def _draw_line(
    axes: Axes, record: TrialRecord, scales: Sequence[Scale], bold: bool, n: int
) -> tuple[float, float]:
    """Draw a trial; many lines are thinner, so that bundles stay visible. Return its end.

    None is faint: with a paler colour it can look like a trial of another mode.
    """
    color = style.STYLES[record.config.mode]["color"]
    reached = scales[:-1] if record.status == "failed" else scales
    heights = [scale.height(record) for scale in reached]
    width, above = (_BOLD, 3) if bold else (min(0.75, max(0.4, 30 / n)), 2)
    (line,) = axes.plot(heights, ":" if record.status == "pruned" else "-", color=color)
    line.set(linewidth=width, zorder=above)
    if record.status == "failed":
        axes.plot([len(heights) - 1], heights[-1:], "x", color=color, zorder=4)
    return len(heights) - 1, heights[-1]


def _draw_scales(axes: Axes, scales: Sequence[Scale]) -> None:
    back = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
    for x, scale in enumerate(scales):
        axes.axvline(x, color="#333333", linewidth=0.8, zorder=4)
        for height, label in scale.ticks.items():
            axes.text(x + 0.03, height, label, va="center", fontsize=8, bbox=back, zorder=5)
    axes.set_xticks(range(len(scales)), [scale.name for scale in scales])
    axes.set_xlim(-0.05, len(scales) - 0.6)
    axes.set_ylim(-0.06, 1.06)  # The labels are at these heights, also if the lines have fewer.
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _keys(records: Sequence[TrialRecord]) -> list[Line2D]:
    keys = [Line2D([], [], color=style.STYLES[m]["color"], label=m) for m in modes_of(records)]
    looks: dict[str, dict[str, Any]] = {
        "done": {"linewidth": _BOLD, "label": f"best {share(BEST)}"},
        "pruned": {"linestyle": ":", "label": "stopped early"},
        "failed": {"marker": "x", "linestyle": "", "label": "failed"},
    }
    there = {"done", *(record.status for record in records)}
    return keys + [Line2D([], [], color="#333333", **looks[s]) for s in looks if s in there]
