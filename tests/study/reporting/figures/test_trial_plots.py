from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from PIL import Image

from study.analysis.estimates import CellSummary, Estimate
from study.records.trial_record import TrialRecord
from study.reporting.figures.style import save, side_by_side
from study.reporting.figures.trial_plots import draw_curves, draw_label_efficiency, draw_trials
from tests.support.studies.builders import make_epoch, make_record
from tl_core.config import MODES


def values_of(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


def named_lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    lines = {str(line.get_label()): values_of(line) for line in axes.lines}
    return {name: values for name, values in lines.items() if not name.startswith("_")}


def some_records() -> list[TrialRecord]:
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
        make_epoch(1, train_loss=0.7, train_accuracy=0.5, val_accuracy=0.6),
        make_epoch(2, train_loss=0.4, train_accuracy=0.8, val_accuracy=0.7),
    ]
    figure = draw_curves(record, "a title")
    loss, accuracy = figure.axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("training loss", "accuracy")
    assert [values_of(line) for line in loss.lines] == [[(1, 0.7), (2, 0.4)]]
    curves = {"training": [(1, 0.5), (2, 0.8)], "validation": [(1, 0.6), (2, 0.7)]}
    assert named_lines(accuracy) == curves
    assert figure.get_suptitle() == "a title"
    for drawn in (figure, draw_curves(make_record(log_losses=(0.5,)), "one epoch")):
        save(drawn, tmp_path / "curves.png")
        with Image.open(tmp_path / "curves.png") as image:
            assert np.asarray(image.convert("RGB")).std() > 10


def test_every_ended_trial_is_a_point_and_a_line_joins_the_best() -> None:
    (axes,) = draw_trials(some_records(), "val_log_loss", 100, "six trials").axes
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
    for records, named in ((some_records(), keys), (some_records()[:3], keys[:1])):
        (legend,) = draw_trials(records, "val_log_loss", 100, "").legends
        assert [text.get_text() for text in legend.get_texts()] == named
    records = [make_record(i) for i in range(2)]
    for record, accuracy in zip(records, (0.7, 0.9), strict=True):
        record.history = [make_epoch(val_accuracy=accuracy)]
    (axes,) = draw_trials(records, "val_accuracy", 100, "two").axes
    assert named_lines(axes) == {"freeze": [(0.1, 0.9)]}
    assert (axes.get_ylabel(), axes.get_yscale()) == ("val_accuracy (higher is better)", "linear")


def test_modes_stand_side_by_side() -> None:
    records = [make_record(i, "done", (0.5,), mode=mode) for i, mode in enumerate(MODES)]
    (axes,) = draw_trials(records, "val_log_loss", 100, "four").axes
    places = [line[0][0] for line in named_lines(axes).values()]
    assert places == [0.1 * factor for factor in side_by_side(MODES).values()]
    assert np.diff(np.log(places)) == pytest.approx([np.log(1.05)] * 3)


def test_label_efficiency_shows_means_with_their_intervals() -> None:
    cells = [
        CellSummary("finetune", ratio, 1e-3, 0.0, 0, borrowed, (0, 1), {"test_accuracy": estimate})
        for ratio, borrowed, estimate in (
            (0.8, 0.4, Estimate(0.9, None, None, 1)), (0.1, None, Estimate(0.7, 0.6, 0.75, 5)),
        )
    ]  # fmt: skip
    (axes,) = draw_label_efficiency(cells, ["test_accuracy"], 200, "cells").axes
    (bars,) = axes.containers
    line, _, (intervals,) = bars
    assert values_of(line) == [(0.1, 0.7), (0.8, 0.9)]
    ends = [segment[:, 1].tolist() for segment in intervals.get_segments()]
    assert ends == [pytest.approx([0.6, 0.75]), [0.9, 0.9]]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [values_of(line) for line in hollow] == [[(0.8, 0.9)]]
    assert axes.get_ylabel() == "test_accuracy (higher is better)"
