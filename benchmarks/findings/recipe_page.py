"""Put two recipes into a page: `python -m benchmarks.findings.recipe_page recipes.json recipes.md`.

The page marks where its table goes, as `benchmarks.scaling.page` explains. The picture goes beside
it, with the suffix `.png`. Only cells with every seed are shown.
"""

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from benchmarks.common import Row
from benchmarks.findings.recipes import RECIPES, SEEDS, chosen
from benchmarks.findings.runs import Finished, Group, read
from benchmarks.findings.tables import format_estimate
from benchmarks.scaling.page import fill
from study.intervals.estimate import Estimate, estimate, on_new_photos
from study.intervals.two_way import DIFFERENCE_PSEUDO, SHARE_PSEUDO, two_way
from study.reporting.figures.saving import save_png
from study.reporting.figures.style import STYLES, Plot, legend_below, new_figure
from tl_core.config import MODES, Mode

Tuned = dict[Group, list[Finished]]
"""One mode at one ratio: by recipe, its chosen configuration on every seed."""


def main(argv: Sequence[str]) -> None:
    """Fill the page's table and draw the picture."""
    source, target = map(Path, argv)
    cells = tuned(read(source))
    rows = [_row(ratio, mode, found) for (ratio, mode), found in cells.items()]
    target.write_text(fill(target.read_text(), {"recipes": {"tables": {"accuracy": rows}}}))
    save_png(plot(cells), target.with_suffix(".png"))


def tuned(done: Sequence[Finished]) -> dict[tuple[float, Mode], Tuned]:
    """Return the chosen configurations that have every seed, by ratio and mode."""
    cells: dict[tuple[float, Mode], Tuned] = {}
    for best in chosen(done):
        same = [f for f in done if (f.group, f.run) == (best.group, best.run)]
        if {f.config.seed for f in same} == {*SEEDS}:
            at = (best.config.train_ratio, best.config.mode)
            cells.setdefault(at, {})[best.group] = sorted(same, key=lambda f: f.config.seed)
    return dict(sorted(cells.items(), key=lambda item: (item[0][0], MODES.index(item[0][1]))))


def hits(run: Iterable[Finished]) -> np.ndarray:
    """Return for each seed and test image whether it was classified rightly, [S, N]."""
    return np.array([[int(hit) for hit in f.right] for f in run], dtype=float)


def accuracy(run: Sequence[Finished], minus: Sequence[Finished] = ()) -> Estimate:
    """Return the mean accuracy, or difference of accuracies, with its interval on new photos."""
    table = hits(run) - hits(minus) if minus else hits(run)
    lowest = -1.0 if minus else 0.0
    t = two_way(table, DIFFERENCE_PSEUDO if minus else SHARE_PSEUDO)
    return on_new_photos(
        estimate(table.mean(axis=1).tolist(), lowest, 1), t, table.shape[1], lowest, 1
    )


def _row(ratio: float, mode: Mode, found: Tuned) -> Row:
    row: Row = {"train_ratio": ratio, "mode": mode}
    for recipe in RECIPES:
        run, name = found.get(recipe, []), recipe.replace(" ", "_")
        row |= {f"{name}_lr": str(run[0].config.lr or "") if run else ""}
        row |= {name: format_estimate(accuracy(run)) if run else ""}
    both = [found[recipe] for recipe in reversed(RECIPES) if recipe in found]
    return row | {"new_less_old": format_estimate(accuracy(*both), "+") if len(both) == 2 else ""}


def plot(cells: dict[tuple[float, Mode], Tuned]) -> Plot:
    """Draw each mode under both recipes, one panel a ratio; hollow is the old recipe."""
    ratios = [ratio for ratio, _ in groupby(ratio for ratio, _ in cells)]
    figure = new_figure("Accuracy on new photos under two recipes, each mode tuned", height=3.2)
    panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False)[0]
    for ratio, axes in zip(ratios, panels, strict=True):
        modes = [mode for r, mode in cells if r == ratio]
        for x, mode in enumerate(modes):
            for recipe, run in cells[ratio, mode].items():
                look: dict[str, Any] = {"linestyle": "", "ms": 5, **STYLES[mode]}
                look |= {"markerfacecolor": "none"} if recipe == RECIPES[0] else {}
                e, at = accuracy(run), x + (-0.15 if recipe == RECIPES[0] else 0.15)
                assert e.low is not None
                assert e.high is not None
                bars = [[e.mean - e.low], [e.high - e.mean]]
                axes.errorbar([at], [e.mean], yerr=bars, capsize=2, **look)
        axes.set_xticks(range(len(modes)), modes, rotation=45)
        axes.set_title(f"train_ratio {ratio:g}", loc="left")
    panels[0].set_ylabel("test_accuracy; mean, 95 % interval")
    grey: dict[str, Any] = {"linestyle": "", "marker": "o", "color": "#555555"}
    legend = [Line2D([], [], label=RECIPES[0], markerfacecolor="none", **grey)]
    legend_below(figure, [*legend, Line2D([], [], label=RECIPES[1], **grey)])
    return figure


if __name__ == "__main__":
    main(sys.argv[1:])
