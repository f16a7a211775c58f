from dataclasses import replace

import numpy as np

from study.analysis.predictions import Predictions, calibration, calibration_error, confusion
from study.reporting.figures.winner_plots import draw_confusion, draw_reliability

PREDICTIONS = Predictions(
    "test", ("cat", "dog"), ("x",) * 3, np.array([0, 0, 1]), np.array([0, 1, 1]),
    np.array([[0.9, 0.1], [0.4, 0.6], [0.1, 0.9]]), ("",) * 3,
)  # fmt: skip


def test_figures_show_counts_and_long_class_names_are_cut() -> None:
    named = replace(PREDICTIONS, classes=("x" * 40, "dog"))
    (axes,) = draw_confusion(confusion(named), "confusion").axes
    assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "1"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["x" * 17 + "…", "dog"]
    bins = calibration(PREDICTIONS)
    upper, lower = draw_reliability(bins, calibration_error(bins), "calibration").axes
    assert [text.get_text() for text in lower.texts] == ["1", "2"]
    assert upper.get_ylabel() == "accuracy"
