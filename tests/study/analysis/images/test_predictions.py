from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analysis.images.calibration import calibration_error
from study.analysis.images.predictions import (
    Confused,
    Predictions,
    calibration,
    confusion,
    most_confused,
    read_predictions,
)


def make_predictions(labels: list[int], confident: list[tuple[int, float]], k: int) -> Predictions:
    """What is predicted, and with what probability; the rest is spread evenly."""
    each = np.array([[(1 - p) / (k - 1)] * k for _, p in confident])
    for row, (predicted, p) in enumerate(confident):
        each[row, predicted] = p
    n = len(labels)
    return Predictions(
        "test", tuple(f"class {i}" for i in range(k)), ("x",) * n, np.array(labels),
        np.array([predicted for predicted, _ in confident]), each, ("",) * n,
    )  # fmt: skip


def test_confusion_has_true_classes_as_rows_and_keeps_the_most_confused() -> None:
    found = confusion(make_predictions([0, 0, 1], [(0, 0.9), (1, 0.9), (1, 0.9)], 2))
    assert found.names == ("class 0", "class 1")
    assert found.counts.tolist() == [[1, 1], [0, 1]]
    said = [(label, 0.9) for label in (0, 1, 4, 3, 4, 5) * 2]
    found = confusion(make_predictions(list(range(6)) * 2, said, 6), most=2)
    assert found.names == ("class 2", "class 4", "4 others")
    assert found.counts.tolist() == [[0, 2, 0], [0, 2, 0], [0, 0, 8]]


def test_most_confused_pairs() -> None:
    said = [(label, 0.9) for label in (1, 0, 2, 2, 1, 2)]
    found = most_confused(make_predictions([0, 0, 1, 1, 1, 2], said, 3))
    pairs = [("class 1", "class 2", 2, 2 / 3), ("class 0", "class 1", 1, 0.5)]
    assert found == [Confused(*pair) for pair in pairs]
    assert most_confused(make_predictions([0], [(0, 0.9)], 2)) == []


def test_calibration_by_hand() -> None:
    # Bins of a quarter: two of confidence 0.75 (right end is in), two of 1.0.
    said = [(0, 0.75), (0, 0.75), (0, 1.0), (0, 1.0)]
    low, high = calibration(make_predictions([0, 1, 0, 0], said, 2), bins=4)
    assert (low.low, low.high, low.count, low.confidence, low.accuracy) == (0.5, 0.75, 2, 0.75, 0.5)
    assert (high.count, high.confidence, high.accuracy, high.accuracy_high) == (2, 1, 1, 1)
    assert low.accuracy_low < 0.5 < low.accuracy_high


@given(st.lists(st.tuples(st.booleans(), st.floats(0.5, 1)), min_size=1, max_size=50))
def test_calibration_loses_no_image(drawn: list[tuple[bool, float]]) -> None:
    labels, said = [int(right) for right, _ in drawn], [(1, p) for _, p in drawn]
    bins = calibration(make_predictions(labels, said, 2))
    assert sum(b.count for b in bins) == len(drawn)
    assert sum(b.count * b.accuracy for b in bins) == pytest.approx(sum(r for r, _ in drawn))
    assert all(b.low <= b.confidence <= b.high + 1e-12 for b in bins)
    confidence, right = (np.array(values) for values in ([p for _, p in drawn], labels))
    gaps = [b.count / len(drawn) * abs(b.accuracy - b.confidence) for b in bins]
    assert calibration_error(confidence, right) == pytest.approx(sum(gaps), abs=1e-9)


def test_names_are_read_as_they_are(tmp_path: Path) -> None:
    table = {
        "image": ["NA/1.jpg", "1/2.jpg"], "label": ["NA", "1"], "predicted": ["1", "1"],
        "split": "val", "brightness": 0.5, "predicted_brightness": np.nan,
        "p_0": [0.25, 0.125], "p_1": [0.75, 0.875], "mistake": ["mistakes/01.jpg", ""],
    }  # fmt: skip
    pd.DataFrame(table).to_csv(tmp_path / "predictions.csv", index=False)
    found = read_predictions(tmp_path, ["NA", "1"])
    assert (found.split, found.classes) == ("val", ("NA", "1"))
    assert found.images == ("NA/1.jpg", "1/2.jpg")
    assert (found.labels.tolist(), found.predicted.tolist()) == ([0, 1], [1, 1])
    assert found.confidence.tolist() == [0.75, 0.875]
    assert found.right.tolist() == [False, True]
    assert found.pictures == ("mistakes/01.jpg", "")
