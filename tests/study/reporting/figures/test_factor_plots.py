import numpy as np
import pytest
from matplotlib.axes import Axes

from study.records.trial_record import TrialRecord
from study.reporting.figures.factor_plots import (
    AUTO,
    aux_position,
    draw_aux_weights,
    draw_importances,
    draw_learning_rates,
)
from study.reporting.figures.parallel_plot import draw_parallel
from tests.support.studies.builders import make_record


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
    figure = draw_learning_rates([make_record(lr=lr) for lr in lrs], "val_log_loss", "lr")
    figure.draw_without_rendering()
    low, high = figure.axes[0].get_xlim()
    ticks = figure.axes[0].get_xticklabels()
    shown = [tick.get_text() for tick in ticks if low <= tick.get_position()[0] <= high]
    labels = [text for text in shown if text]
    assert len(set(labels)) == len(labels) >= 2


def test_learning_rates_have_a_panel_a_mode() -> None:
    freeze, scratch = draw_learning_rates(some_records(), "val_log_loss", "lr").axes
    assert (freeze.get_title(), scratch.get_title()) == ("freeze", "scratch")
    assert points(freeze) == [(1e-2, 0.5)]
    assert points(scratch) == [(1e-4, 0.4), (1e-3, 0.9)]
    (failed,) = scratch.lines
    assert np.asarray(failed.get_xydata()).tolist() == [[1e-2, 1.0]]
    assert freeze.get_xscale() == "log"


def test_aux_weights_show_both_scores_and_their_trade() -> None:
    left, middle, right, _ = draw_aux_weights(some_records(), "val_log_loss", "aux").axes
    assert points(left) == [(0, 0.4), (0, 0.9), (0.5, 0.5)]
    assert points(middle) == [(0, 0.125), (0, 0.125), (0.5, 0.125)]
    assert points(right) == [(0.125, 0.4), (0.125, 0.5), (0.125, 0.9)]
    learned = make_record(aux_weight="auto")
    assert aux_position(learned) == AUTO > 1, "it stands beside the numbers"
    left = draw_aux_weights([learned], "val_log_loss", "aux").axes[0]
    assert left.get_xticklabels()[-1].get_text().strip() == "auto"


def test_importances_have_the_largest_on_top() -> None:
    (axes,) = draw_importances({"mode": 0.75, "aux_weight": 0.25}, "importances").axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["aux_weight", "mode"]


def test_lines_of_parallel_coordinates_go_up_to_what_is_better() -> None:
    (axes,) = draw_parallel(some_records(), "val_log_loss", "all").axes
    lines = [line for line in axes.lines if len(np.asarray(line.get_ydata())) >= 4]
    heights = [np.asarray(line.get_ydata()).tolist() for line in lines]
    assert [len(line) for line in heights] == [5, 5, 5, 4], "failed ones end before the score"
    assert [line[4] for line in heights[:3]] == [pytest.approx(0.725, abs=0.01), 1, 0]
    (one,) = draw_parallel([make_record()], "val_accuracy", "one").axes
    assert np.asarray(one.lines[0].get_ydata()) == pytest.approx([0.5] * 5, abs=0.1)
    assert [line.get_linestyle() for line in lines] == ["-", "-", ":", "-"]
    assert [line.get_linewidth() for line in lines] == [0.9, 1.8, 0.9, 0.9]
    assert heights[1][2] == 0, "the lowest learning rate is at the bottom"
