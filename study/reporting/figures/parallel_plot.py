"""All factors and the score at once: parallel coordinates, a line a trial."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from study.records.trial_record import TrialRecord
from study.reporting.figures.factor_plots import aux_position
from study.reporting.figures.style import STYLES, is_unbounded, legend_below, modes_of, new_figure
from tl_core.config import DIRECTIONS, Metric

BEST = 0.1
"""Share of the finished trials that is drawn boldly."""


@dataclass(frozen=True)
class Scale:
    """One of the upright axes."""

    name: str
    place: Callable[[TrialRecord], float]
    """Height of a trial on it, 0 at the bottom and 1 on top."""
    ticks: dict[float, str]
    """Labels, by height."""


def draw_parallel(records: Sequence[TrialRecord], metric: Metric, title: str) -> Figure:
    """Draw mode, ratio, learning rate, auxiliary weight and score; better scores are higher up.

    Trials stopped early are dotted; failed ones end before the score with a cross.
    """
    figure = new_figure(title, 4.0)
    axes = figure.subplots()
    shown = [r for r in records if r.status in ("done", "pruned", "failed")]
    scales = _scales(shown, metric)
    bold = _best(shown, metric)
    for record in shown:
        _draw_line(axes, record, scales, record.trial in bold, len(shown))
    _draw_scales(axes, scales)
    legend_below(figure, _keys(shown))
    return figure


def _scales(records: Sequence[TrialRecord], metric: Metric) -> list[Scale]:
    modes = modes_of(records)[::-1]
    ratios = sorted({r.config.train_ratio for r in records})
    ended = [r.value(metric) for r in records if r.status != "failed"]
    scores = [value for value in ended if value is not None]
    return [
        _choices("mode", lambda r: modes.index(r.config.mode), modes),
        _choices(
            "train_ratio",
            lambda r: ratios.index(r.config.train_ratio),
            [f"{ratio:g}" for ratio in ratios],
        ),
        _numbers("lr", lambda r: r.config.lr, [r.config.lr for r in records], log=True),
        _numbers("aux_weight", aux_position, [aux_position(r) for r in records]),
        _numbers(
            metric,
            lambda r: r.value(metric) or 0.0,
            scores,
            log=is_unbounded(metric) and min(scores, default=1) > 0,
            falling=DIRECTIONS[metric] == "min",
        ),
    ]


def _choices(name: str, index: Callable[[TrialRecord], int], labels: Sequence[str]) -> Scale:
    """Spread trials of the same choice a little, or their lines would run as one."""
    step = 1 / max(len(labels) - 1, 1)

    def height(i: float) -> float:
        return i * step if len(labels) > 1 else 0.5

    def place(record: TrialRecord) -> float:
        aside = (record.trial * 0.618) % 1 - 0.5  # The golden ratio spreads any count evenly.
        return height(index(record)) + 0.3 * min(step, 0.3) * aside

    return Scale(name, place, {height(i): label for i, label in enumerate(labels)})


def _numbers(
    name: str,
    value: Callable[[TrialRecord], float],
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

    ticks = [x for x in _ticks(low, high, log) if low <= x <= high]
    return Scale(name, lambda record: height(value(record)), {height(x): f"{x:g}" for x in ticks})


def _ticks(low: float, high: float, log: bool) -> list[float]:
    """Round numbers about a range; the value itself, if there is only one."""
    if low == high:
        return [low]
    if log:
        subs = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)
        found = LogLocator(subs=subs).tick_values(low, high)
    else:
        found = MaxNLocator(5).tick_values(low, high)
    return [float(f"{x:.3g}") for x in found]


def _best(records: Sequence[TrialRecord], metric: Metric) -> set[int]:
    sign = 1 if DIRECTIONS[metric] == "min" else -1
    done = sorted(
        (r for r in records if r.status == "done"), key=lambda r: sign * (r.value(metric) or 0.0)
    )
    return {r.trial for r in done[: max(1, round(BEST * len(done)))]}


def _draw_line(
    axes: Axes, record: TrialRecord, scales: Sequence[Scale], bold: bool, n: int
) -> None:
    """Many lines are fainter each, so that bundles show rather than a blot."""
    color = STYLES[record.config.mode]["color"]
    reached = scales[:-1] if record.status == "failed" else scales
    heights = [scale.place(record) for scale in reached]
    width, alpha, above = (1.8, 0.9, 3) if bold else (0.9, min(0.6, 30 / n), 2)
    (line,) = axes.plot(heights, ":" if record.status == "pruned" else "-", color=color)
    line.set(linewidth=width, alpha=alpha, zorder=above)
    if record.status == "failed":
        axes.plot([len(heights) - 1], heights[-1:], "x", color=color, zorder=4)


def _draw_scales(axes: Axes, scales: Sequence[Scale]) -> None:
    back = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
    for x, scale in enumerate(scales):
        axes.axvline(x, color="#333333", linewidth=0.8, zorder=4)
        for height, label in scale.ticks.items():
            axes.text(x + 0.03, height, label, va="center", fontsize=8, bbox=back, zorder=5)
    axes.set_xticks(range(len(scales)), [scale.name for scale in scales])
    axes.set_xlim(-0.05, len(scales) - 0.6)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _keys(records: Sequence[TrialRecord]) -> list[Line2D]:
    keys = [Line2D([], [], color=STYLES[mode]["color"], label=mode) for mode in modes_of(records)]
    there = {record.status for record in records}
    keys.append(Line2D([], [], color="#333333", linewidth=1.8, label=f"best {BEST:.0%}"))
    if "pruned" in there:
        keys.append(Line2D([], [], color="#333333", linestyle=":", label="stopped early"))
    if "failed" in there:
        keys.append(Line2D([], [], color="#333333", marker="x", linestyle="", label="failed"))
    return keys
