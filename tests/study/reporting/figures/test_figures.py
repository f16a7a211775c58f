"""What the figures show."""

from dataclasses import replace
from functools import partial
from operator import mul
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from PIL import Image

from study.analysis.estimates import CellSummary, summarize
from study.analysis.extrapolation import extrapolate
from study.analysis.images.predictions import Predictions, calibration, confusion
from study.intervals.estimate import Estimate
from study.records.trial_record import TrialRecord
from study.reporting.figures.factor_plots import (
    AUTO,
    aux_position,
    draw_aux_weights,
    draw_importances,
    draw_learning_rates,
)
from study.reporting.figures.parallel_plot import draw_parallel
from study.reporting.figures.saving import save_png, to_svg
from study.reporting.figures.style import (
    STYLES,
    Plot,
    is_unbounded,
    new_figure,
    ratio_axis,
    side_by_side,
)
from study.reporting.figures.trial_plots import draw_curves, draw_label_efficiency, draw_trials
from study.reporting.figures.winner_plots import draw_confusion, draw_reliability
from tests.study.analysis.test_extrapolation import ON_CURVE, curve
from tests.support.studies.builders import make_confirmed, make_epoch, make_record
from tl_core.aux_task import BRIGHTNESS
from tl_core.config import MODES

SHARE_OF_40, SHARE_OF_100, SHARE_OF_200 = (partial(mul, n) for n in (40.0, 100.0, 200.0))


def titled(title: str) -> Plot:
    """A figure with empty axes: matplotlib warns of the layout of one without."""
    figure = new_figure(title, 2)
    figure.subplots()
    return figure


def test_looks_ticks_titles_and_files() -> None:
    assert set(STYLES) == set(MODES)
    for part in ("color", "marker"):
        assert len({style[part] for style in STYLES.values()}) == len(MODES)
    axes = new_figure("", 3).subplots()
    ratio_axis(axes, [0.01, 0.1, 0.11, 0.79, 0.8], SHARE_OF_100)
    assert list(axes.get_xticks()) == [0.01, 0.11, 0.8], "labels of close ratios are left out"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.01\n1", "0.11\n11", "0.8\n80"]
    once, again = (to_svg(titled(r"$\wrong{"), "a", "") for _ in range(2))
    assert r"$\wrong{" in once, "dollars are no formulas"
    assert once == again
    title = new_figure("a name of data " * 10 + "\nsecond", 3).get_suptitle()
    assert max(map(len, title.splitlines())) <= 86
    assert title.splitlines()[-1] == "second"
    names = ("val_log_loss", "val_brightness_mae", "val_loss")
    assert [is_unbounded(name) for name in names] == [True, True, False]


def values_of(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def named_lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    lines = {str(line.get_label()): values_of(line) for line in axes.lines}
    return {name: values for name, values in lines.items() if not name.startswith("_")}


def trial_records() -> list[TrialRecord]:
    return [
        make_record(0, "done", (0.5,), mode="freeze", train_ratio=0.1),
        make_record(1, "done", (0.25,), mode="freeze", train_ratio=0.1),
        make_record(2, "done", (0.2,), mode="freeze", train_ratio=0.8),
        make_record(3, "pruned", (0.9,), mode="freeze", train_ratio=0.8),
        make_record(4, "failed", (), "DivergedError", mode="freeze", train_ratio=0.4),
        make_record(5, "interrupted", (0.1,), mode="freeze", train_ratio=0.4),
    ]


def test_curves_are_those_of_the_article(tmp_path: Path) -> None:
    record = make_record()
    record.history = [
        make_epoch(1, train_loss=0.7, train_accuracy=0.5, val_accuracy=0.6, step=900),
        make_epoch(2, train_loss=0.4, train_accuracy=0.8, val_accuracy=0.7, step=1800),
    ]
    figure = draw_curves(record, "a title")
    loss, accuracy = figure.axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("training loss", "accuracy")
    assert [values_of(line) for line in loss.lines] == [[(900, 0.7), (1800, 0.4)]]
    curves = {"training": [(900, 0.5), (1800, 0.8)], "validation": [(900, 0.6), (1800, 0.7)]}
    assert named_lines(accuracy) == curves
    assert {loss.get_xlabel(), accuracy.get_xlabel()} == {"step"}
    assert figure.values[-1].text == "step 1,800\nval_accuracy 0.7000"
    assert figure.get_suptitle() == "a title"
    for drawn in (figure, draw_curves(make_record(log_losses=(0.5,)), "one epoch")):
        save_png(drawn, tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as image:
            assert np.asarray(image.convert("RGB")).std() > 10


def test_curves_without_steps_are_by_epoch_and_one_epoch_is_one_tick() -> None:
    figure = draw_curves(make_record(log_losses=(0.5,)), "one epoch")
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
        assert axes.get_xlabel() == "epoch"


def test_every_ended_trial_is_a_point_and_a_line_joins_the_best() -> None:
    (axes,) = draw_trials(trial_records(), "val_log_loss", SHARE_OF_100, "six trials").axes
    full, hollow = (
        sorted((float(x), float(y)) for x, y in np.asarray(dots.get_offsets()))
        for dots in axes.collections
    )
    assert full == [(0.1, 0.25), (0.1, 0.5), (0.8, 0.2)]
    assert hollow == [(0.8, 0.9)]
    assert named_lines(axes) == {"freeze": [(0.1, 0.25), (0.8, 0.2)]}
    (failed,) = (line for line in axes.lines if line.get_marker() == "x")
    assert values_of(failed) == [(0.4, 1.0)]
    assert axes.get_ylabel() == "val_log_loss (lower is better)"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.1\n10", "0.4\n40", "0.8\n80"]
    keys = ["freeze", "hollow: stopped early", "at the upper edge: failed"]
    for records, named in ((trial_records(), keys), (trial_records()[:3], keys[:1])):
        (legend,) = draw_trials(records, "val_log_loss", SHARE_OF_100, "").legends
        assert [text.get_text() for text in legend.get_texts()] == named
        assert legend.get_title().get_text() == "lines join the best trials"
    (legend,) = draw_trials(trial_records()[:1], "val_log_loss", SHARE_OF_100, "").legends
    assert not legend.get_title().get_text(), "one ratio has no lines"
    records = [make_record(i) for i in range(2)]
    for record, accuracy in zip(records, (0.7, 0.9), strict=True):
        record.history = [make_epoch(val_accuracy=accuracy)]
    (axes,) = draw_trials(records, "val_accuracy", SHARE_OF_100, "two").axes
    assert named_lines(axes) == {"freeze": [(0.1, 0.9)]}
    assert (axes.get_ylabel(), axes.get_yscale()) == ("val_accuracy (higher is better)", "linear")


def places(figure: Plot) -> list[tuple[float, float, str]]:
    return [(value.x, value.y, value.text.splitlines()[0]) for value in figure.values]


def test_every_ended_trial_has_a_value_at_its_point() -> None:
    figure = draw_trials(trial_records(), "val_log_loss", SHARE_OF_100, "six trials")
    assert places(figure) == [
        (0.1, 0.25, "trial 1"), (0.1, 0.5, "trial 0"), (0.4, 1.0, "trial 4, failed"),
        (0.8, 0.2, "trial 2"), (0.8, 0.9, "trial 3, stopped early"),
    ]  # fmt: skip
    assert [value.at_the_edge for value in figure.values] == [False, False, True, False, False]


def test_a_legend_has_as_many_rows_as_it_needs() -> None:
    modes = [make_record(i, "done", (0.5,), mode=mode) for i, mode in enumerate(MODES)]
    for others, rows in (([], 1), ([make_record(7, "pruned"), make_record(8, "failed", ())], 2)):
        figure = draw_trials([*modes, *others], "val_log_loss", SHARE_OF_100, "all")
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert len({round(text.get_window_extent().y0 / 9) for text in legend.get_texts()}) == rows
        assert 0 <= legend.get_window_extent().x0 <= legend.get_window_extent().x1 <= figure.bbox.x1


def test_modes_stand_side_by_side() -> None:
    records = [make_record(i, "done", (0.5,), mode=mode) for i, mode in enumerate(MODES)]
    (axes,) = draw_trials(records, "val_log_loss", SHARE_OF_100, "four").axes
    places = [line[0][0] for line in named_lines(axes).values()]
    assert places == [0.1 * factor for factor in side_by_side(MODES).values()]
    assert np.diff(np.log(places)) == pytest.approx([np.log(1.05)] * (len(MODES) - 1))


def test_label_efficiency_shows_means_with_their_intervals() -> None:
    cells = [
        CellSummary(
            mode="finetune", train_ratio=ratio, lr=1e-3, aux_weight=0.0, source=0, trials=8,
            borrowed_from=borrowed, seeds=(0, 1), scores={"test_accuracy": estimate},
        )
        for ratio, borrowed, estimate in (
            (0.8, 0.4, Estimate(0.9, None, None, 1)), (0.1, None, Estimate(0.7, 0.6, 0.75, 5)),
        )
    ]  # fmt: skip
    figure = draw_label_efficiency(cells, ["test_accuracy"], SHARE_OF_200, "cells")
    (axes,) = figure.axes
    name = "finetune at train_ratio"
    assert places(figure) == [
        (0.1, 0.7, f"{name} 0.1, 20 images"),
        (0.8, 0.9, f"{name} 0.8, 160 images"),
    ]
    (bars,) = axes.containers
    line, _, (intervals,) = bars
    assert values_of(line) == [(0.1, 0.7), (0.8, 0.9)]
    ends = [segment[:, 1].tolist() for segment in intervals.get_segments()]
    assert ends == [pytest.approx([0.6, 0.75]), [0.9, 0.9]]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [values_of(line) for line in hollow] == [[(0.8, 0.9)]]
    assert axes.get_ylabel() == "test_accuracy (higher is better)"


def test_the_name_of_a_score_does_not_run_into_the_title() -> None:
    for score in ("test_accuracy", "test_balanced_accuracy", "test_brightness_mae"):
        confirmed = [
            replace(c, scores=c.scores | {"test_balanced_accuracy": 0.5})
            for c in make_confirmed("freeze", 0.1, (0.8, 0.9))
        ]
        figure = draw_label_efficiency(
            summarize(confirmed), ["test_accuracy", score], SHARE_OF_200, "cells"
        )
        figure.draw_without_rendering()
        for axes in figure.axes:
            # It is centred beside its axes, and may be a little higher.
            name, panel = axes.yaxis.label.get_window_extent(), axes.get_window_extent()
            assert name.height <= 1.05 * panel.height, score


@pytest.mark.parametrize("score", ["test_accuracy", "test_balanced_accuracy"])
def test_label_efficiency_goes_on_to_what_is_expected(score: str) -> None:
    trials = curve(ON_CURVE)
    found = extrapolate(trials, "freeze", score=score)
    assert found is not None
    cells, scores = summarize(trials), [score, "test_log_loss"]
    figure = draw_label_efficiency(cells, scores, SHARE_OF_200, "cells", [found])
    left, right = figure.axes
    told = [value.text for value in figure.values if "expected" in value.text]
    assert [text.splitlines()[0] for text in told] == [
        "freeze with 2 x the labels, 256 images", "freeze with 4 x the labels, 512 images",
    ]  # fmt: skip
    assert all(f"\nexpected {score} 0.9" in text for text in told)
    (dashed,) = (line for line in left.lines if line.get_linestyle() == "--")
    expected = [(0.64, 0.955), (1.28, found.levels[2].mean), (2.56, found.levels[4].mean)]
    assert values_of(dashed) == [pytest.approx(point) for point in expected]
    assert not [line for line in right.lines if line.get_linestyle() == "--"]


def test_what_is_expected_begins_on_the_curve() -> None:
    """With 15 errors for 18 the last score is above the curve, which rises all the same."""
    trials = curve((*ON_CURVE[:3], 15))
    found = extrapolate(trials, "freeze")
    assert found is not None
    figure = draw_label_efficiency(
        summarize(trials), ["test_accuracy"], SHARE_OF_200, "cells", [found]
    )
    (dashed,) = (line for line in figure.axes[0].lines if line.get_linestyle() == "--")
    first, second, third = (y for _, y in values_of(dashed))
    assert first == pytest.approx(second - found.gains[2].mean)
    assert first < 1 - 15 / 400
    assert first < second < third


def points(axes: Axes) -> list[tuple[float, float]]:
    dots = [np.asarray(d.get_offsets()).tolist() for d in axes.collections]
    return sorted((x, y) for some in dots for x, y in some)


def some_records() -> list[TrialRecord]:
    return [
        make_record(0, "done", (0.5,), mode="freeze", lr=1e-2, aux_weight=0.5),
        make_record(1, "done", (0.4,), mode="scratch", lr=1e-4, train_ratio=0.8),
        make_record(2, "pruned", (0.9,), mode="scratch", lr=1e-3),
        make_record(3, "failed", (), mode="scratch", lr=1e-2),
        make_record(4, "interrupted", (0.1,), mode="freeze"),
    ]


@pytest.mark.parametrize("lrs", [(2.7e-4, 4e-4), (3.1e-4, 3.4e-4), (1e-4, 1e-3), (1e-5, 0.1)])
def test_no_two_labels_are_the_same(lrs: tuple[float, float]) -> None:
    figure = draw_learning_rates(
        [make_record(lr=lr) for lr in lrs], "val_log_loss", SHARE_OF_40, "lr"
    )
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    ticks = figure.axes[0].get_xticklabels()
    shown = [tick.get_text() for tick in ticks if low <= tick.get_position()[0] <= high]
    labels = [text for text in shown if text]
    assert len(set(labels)) == len(labels) >= 2


def test_learning_rates_have_a_panel_a_mode() -> None:
    freeze, scratch = draw_learning_rates(some_records(), "val_log_loss", SHARE_OF_40, "lr").axes
    assert (freeze.get_title(), scratch.get_title()) == ("freeze", "scratch")
    assert points(freeze) == [(1e-2, 0.5)]
    assert points(scratch) == [(1e-4, 0.4), (1e-3, 0.9)]
    (failed,) = scratch.lines
    assert np.asarray(failed.get_xydata()).tolist() == [[1e-2, 1.0]]
    assert freeze.get_xscale() == "log"
    cut_off = make_record(5, "interrupted", (0.3,), mode="finetune")
    figure = draw_learning_rates([*some_records(), cut_off], "val_log_loss", SHARE_OF_40, "lr")
    figure.draw_without_rendering()
    assert len(figure.axes) == 2
    told = [value.text.splitlines()[0] for value in figure.values]
    assert told == ["trial 0", "trial 1", "trial 2, stopped early"]


def test_aux_weights_show_both_scores_and_their_trade() -> None:
    left, middle, right, _ = draw_aux_weights(
        some_records(), "val_log_loss", BRIGHTNESS, SHARE_OF_40, "aux"
    ).axes
    assert points(left) == [(0, 0.4), (0, 0.9), (0.5, 0.5)]
    assert points(middle) == [(0, 0.125), (0, 0.125), (0.5, 0.125)]
    assert points(right) == [(0.125, 0.4), (0.125, 0.5), (0.125, 0.9)]
    learned = make_record(aux_weight="auto")
    assert aux_position(learned) == AUTO > 1, "it stands beside the numbers"
    left = draw_aux_weights([learned], "val_log_loss", BRIGHTNESS, SHARE_OF_40, "aux").axes[0]
    assert left.get_xticklabels()[-1].get_text().strip() == "auto"


def test_importances_have_the_largest_on_top() -> None:
    (axes,) = draw_importances({"mode": 0.75, "aux_weight": 0.25}, "importances").axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["aux_weight", "mode"]


def test_lines_of_parallel_coordinates_go_up_to_what_is_better() -> None:
    (axes,) = draw_parallel(some_records(), "val_log_loss", SHARE_OF_40, "all").axes
    lines = [line for line in axes.lines if len(np.asarray(line.get_ydata())) >= 4]
    heights = [np.asarray(line.get_ydata()).tolist() for line in lines]
    assert [len(line) for line in heights] == [5, 5, 5, 4], "failed ones end before the score"
    assert [line[4] for line in heights[:3]] == [pytest.approx(0.725, abs=0.01), 1, 0]
    (one,) = draw_parallel([make_record()], "val_accuracy", SHARE_OF_40, "one").axes
    assert np.asarray(one.lines[0].get_ydata()) == pytest.approx([0.5] * 5, abs=0.1)
    assert one.get_ylim() == (-0.06, 1.06), "the labels are at the same heights"
    assert [text.get_text() for text in one.texts] == ["freeze", "0.1", "0.001", "0", "0.875"]
    scores = (0.21, 0.3, 0.48)  # They have none of the numbers 1, 2 and 5 between them.
    (few,) = draw_parallel(
        [make_record(i, "done", (x,)) for i, x in enumerate(scores)],
        "val_log_loss",
        SHARE_OF_40,
        "",
    ).axes
    assert [text.get_text() for text in few.texts][-3:] == ["0.35", "0.4", "0.45"]
    assert [line.get_linestyle() for line in lines] == ["-", "-", ":", "-"]
    assert [line.get_linewidth() for line in lines] == [0.75, 2.0, 0.75, 0.75]
    assert [line.get_alpha() for line in lines] == [None] * 4, "a faint one has another's colour"
    assert heights[1][2] == 0, "the lowest learning rate is at the bottom"
    figure = draw_parallel(some_records(), "val_log_loss", SHARE_OF_40, "all")
    ends = [value.text.splitlines() for value in figure.values]
    assert [lines[0] for lines in ends[:2]] == ["trial 1", "trial 0"], "the best one first"
    assert ends[0][-1] == "val_log_loss 0.4000"


PREDICTIONS = Predictions(
    "test", ("cat", "dog"), ("x",) * 3, np.array([0, 0, 1]), np.array([0, 1, 1]),
    np.array([[0.9, 0.1], [0.4, 0.6], [0.1, 0.9]]), ("",) * 3,
)  # fmt: skip


def test_figures_show_counts_and_long_class_names_are_cut() -> None:
    named = replace(PREDICTIONS, classes=("x" * 40, "dog"))
    figure = draw_confusion(confusion(named), "confusion")
    (axes,) = figure.axes
    told = [value.text.splitlines() for value in figure.values]
    assert told[-1] == [f"{'x' * 40}, predicted as {'x' * 40}", "1 image, 50.0 %"]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "1"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["dog", "x" * 17 + "…"]
    bins = calibration(PREDICTIONS)
    figure = draw_reliability(bins, 0.25, "calibration")
    upper, lower = figure.axes
    assert figure.values[0].text.startswith("confidence 0.53 to 0.60, 1 image\n")
    assert [text.get_text() for text in lower.texts] == ["1", "2"]
    assert upper.get_ylabel() == "accuracy"
