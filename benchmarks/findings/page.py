"""Put the findings into their page: `python -m benchmarks.findings.page docs/findings.md`.

The page marks where its tables go, as `benchmarks.scaling.page` explains. `findings.json`,
`recipes.json` and `recipes-224.json` are beside it; the last one may be missing. The picture shows
the modes under both recipes; it goes beside the page, with the suffix `.png`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from benchmarks.findings.recipes import RECIPES
from benchmarks.findings.runs import read
from benchmarks.findings.tables import (
    Tuned,
    findings_tables,
    ratios_of,
    recipes_tables,
    score,
    tuned_cells,
)
from benchmarks.scaling.page import fill
from study.reporting.figures.saving import save_png
from study.reporting.figures.style import STYLES, Plot, legend_below, new_figure


def main(argv: Sequence[str]) -> None:
    """Fill the page's tables and draw its picture."""
    (page,) = map(Path, argv)
    tuned, larger = (
        tuned_cells(read(page.with_name(f"{name}.json"))) for name in ("recipes", "recipes-224")
    )
    parts = {
        "findings": findings_tables(read(page.with_suffix(".json")), tuned),
        "recipes": recipes_tables(tuned),
        "recipes224": recipes_tables(larger),
    }
    report = {name: {"tables": tables} for name, tables in parts.items()}
    page.write_text(fill(page.read_text(), report))
    save_png(plot(tuned), page.with_suffix(".png"))


def plot(tuned: Tuned) -> Plot:
    """Draw each mode under both recipes, one panel a ratio; hollow is the old recipe."""
    ratios = ratios_of(tuned)
    figure = new_figure("Accuracy on new photos under two recipes, each mode tuned", height=3.2)
    panels = figure.subplots(1, len(ratios), sharey=True, squeeze=False)[0]
    for ratio, axes in zip(ratios, panels, strict=True):
        modes = [mode for r, mode in tuned if r == ratio]
        for x, mode in enumerate(modes):
            for recipe, run in tuned[ratio, mode].items():
                look: dict[str, Any] = {"linestyle": "", "ms": 5, **STYLES[mode]}
                look |= {"markerfacecolor": "none"} if recipe == RECIPES[0] else {}
                e, at = score(run), x + (-0.15 if recipe == RECIPES[0] else 0.15)
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
