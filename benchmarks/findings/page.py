"""Put the findings into their page: `python -m benchmarks.findings.page findings.json findings.md`.

The page marks where its tables go, as `benchmarks.scaling.page` explains. The picture shows every
run's test accuracy with its interval; it goes beside the page, with the suffix `.png`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmarks.findings.runs import Finished, Group, read
from benchmarks.findings.tables import Run, by_run, is_own, score, tables
from benchmarks.scaling.page import fill
from study.reporting.figures.saving import save_png
from study.reporting.figures.style import STYLES, Plot, legend_below, new_figure
from tl_core.config import MODES

_TITLES: dict[Group, str] = {
    "article": "the article's runs",
    "modes": "all modes, same images, size and epochs",
    "tasks": "with and without brightness",
}
_BELOW = 0.3
"""How far below its mean a run's seeds are drawn, in rows."""


def main(argv: Sequence[str]) -> None:
    """Fill the page's tables and draw its picture."""
    source, target = map(Path, argv)
    found = read(source)
    target.write_text(fill(target.read_text(), {"findings": {"tables": tables(found)}}))
    save_png(plot(found), target.with_suffix(".png"))


def plot(found: Sequence[Finished]) -> Plot:
    """Draw a point and interval a run, and a faint point a seed; one panel a group."""
    runs = by_run(found)
    backbones = sorted({f.config.backbone for f in found if not is_own(f.config)})
    title = f"{', '.join(backbones)} on {found[0].images:,} images: accuracy on the test set"
    groups = [g for g in get_args(Group) if any(run[0].group == g for run in runs)]
    counts = [sum(run[0].group == g for run in runs) for g in groups]
    figure = new_figure(title, height=1.5 + 0.22 * sum(counts) + 0.3 * len(groups))
    panels = figure.subplots(
        len(groups), sharex=True, squeeze=False, height_ratios=[n + 0.5 for n in counts]
    )[:, 0]
    for group, axes in zip(groups, panels, strict=True):
        _panel(axes, [run for run in runs if run[0].group == group])
        axes.set_title(_TITLES[group], loc="left")
    panels[-1].set_xlabel("test_accuracy; mean, 95 % interval, each seed")
    legend_below(figure, [Line2D([], [], linestyle="", label=m, **STYLES[m]) for m in MODES])
    return figure


def _panel(axes: Axes, runs: Sequence[Run]) -> None:
    for y, run in enumerate(runs):
        look: dict[str, Any] = STYLES[run[0].config.mode]
        e = score(run)
        seeds = [f.test["test_accuracy"] for f in run]
        axes.plot(seeds, [y + _BELOW] * len(run), ".", color="#999999", ms=3)
        if e.low is not None and e.high is not None:
            width = [[e.mean - e.low], [e.high - e.mean]]
            axes.errorbar([e.mean], [y], xerr=width, fmt="none", color=look["color"], capsize=3)
        axes.plot([e.mean], [y], linestyle="", ms=4, **look)
    axes.set_yticks(range(len(runs)), [_name(run) for run in runs])
    axes.set_ylim(len(runs) - 0.4, -0.6)


def _name(run: Run) -> str:
    c = run[0].config
    aux = f" aux_weight {c.aux_weight}," if run[0].group == "tasks" else ""
    net = f"{c.backbone} " if is_own(c) else ""
    return (
        f"{net}{c.mode} {c.train_ratio:g},{aux} {c.image_size} px, {c.epochs} epochs, n={len(run)}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
