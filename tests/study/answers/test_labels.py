"""What is said of labels goes by the score that was asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from study.analysis.estimates import Confirmed
from study.analysis.findings import Findings
from study.analysis.study_data import StudyData
from study.answers.labels import NO_CURVE, label_gain, more_labels
from study.answers.recommendation import recommendation
from study.reporting.build import next_steps
from study.search.cells import Cell
from tests.support.studies.builders import make_settings
from tests.support.studies.image_tables import seen
from tl_core.config import Metric

RATIOS = (0.01, 0.04, 0.16, 0.64)
LABELS = np.repeat([0, 1], [300, 100])
ON_CURVE = (66, 34, 18, 10)
"""Errors of the 100 images of the small class: of balanced accuracy 0.01 + 0.032 / sqrt(ratio)."""
ASKED: Metric = "val_balanced_accuracy"


def rare(errors: tuple[int, ...]) -> list[Confirmed]:
    """Freezing, wrong on so many images of the small class at each ratio, on each of 3 seeds."""
    trials = []
    for ratio, wrong in zip(RATIOS, errors, strict=True):
        hits = np.ones((3, 400))
        hits[:, 300 : 300 + wrong] = 0
        trials += seen("freeze", ratio, hits, labels=LABELS)
    return trials


def study(trials: list[Confirmed], metric: Metric) -> StudyData:
    about = {"status": "done", "data": {"classes": {"cat": 300, "dog": 100}, "images": 4000}}
    data = StudyData(Path("runs/mine"), about, [])
    settings = make_settings(data="photos", mode=["freeze"], metric=metric, aux_weight=["0"])
    vars(data).update(settings=settings, place=data.folder, confirmed=trials, is_split=False)
    vars(data).update(ranking=[Cell("freeze", 0.64)])
    return data


def test_more_labels_gain_in_balanced_accuracy() -> None:
    """By hand: b / sqrt(0.64) = 0.04, of which twice the labels leave 1 / sqrt 2."""
    found = Findings(rare(ON_CURVE))
    asked, default = more_labels("freeze", found, ASKED), more_labels("freeze", found)
    assert asked
    assert default
    given = "ith twice the labels of 64 % of the images, freezing is expected to gain "
    assert asked.startswith(f"In balanced accuracy, w{given}1.2 points (")
    assert default.startswith(f"W{given}0.6 points ("), "half of it: of 400 images, not of 2 x 100"
    data = study(rare(ON_CURVE), ASKED)
    assert recommendation(data).endswith(
        " With twice the labels expect about +1.2 points of balanced accuracy."
    )
    step, *_ = next_steps(data)
    assert step.text.startswith("Twice the labels, for about +1.2 points of balanced accuracy: add")
    step, *_ = next_steps(study(rare(ON_CURVE), "val_log_loss"))
    assert step.text.startswith("Twice the labels, for about +0.6 points: add photos")


def test_a_flat_curve_is_told_with_its_score() -> None:
    trials = rare((20, 20, 20, 20))
    told = more_labels("freeze", Findings(trials), ASKED)
    assert told
    assert told.startswith("In balanced accuracy, with twice the labels of 64 % of the images, fre")
    assert "is not shown to gain, at " in told
    last = " More labels are not shown to help further in balanced accuracy."
    assert recommendation(study(trials, ASKED)).endswith(last)


def test_labels_that_are_saved_are_told_in_the_score() -> None:
    """With 4 % the 3 more of 400 are less than the margin, those of 2 x 100 are more."""
    trials = [replace(c, images=None) for c in rare((40, 12, 9, 9))]
    metrics: tuple[Metric, ...] = ("val_log_loss", ASKED, "val_brightness_mae")
    default, asked, other = (label_gain("freeze", Findings(trials), m) for m in metrics)
    few, many = "reezing with 4 % matches freezing", "reezing with 16 % matches freezing"
    assert f" F{few} with 64 % within 1 point, at a difference of -0.8 " in default
    assert f" In balanced accuracy, f{many} with 64 % within 1 point, at a diff" in asked
    # Of an error of the auxiliary task nobody knows what a small loss is.
    assert other.startswith("Whether more labels help in brightness MAE is unclear")
    assert f" In accuracy, f{few} with" in other


def test_macro_f1_is_not_extrapolated_and_the_answer_says_why() -> None:
    trials = rare(ON_CURVE)
    trials = [replace(c, scores=c.scores | {"test_macro_f1": 0.9}) for c in trials]
    assert more_labels("freeze", Findings(trials), "val_macro_f1") == NO_CURVE
    assert more_labels("freeze", Findings(trials[3:]), "val_macro_f1") is None, "three cells"
    assert "With twice" not in recommendation(study(trials, "val_macro_f1"))


@pytest.mark.parametrize("metric", ["val_log_loss", "val_accuracy", "val_loss"])
def test_accuracy_is_not_named_where_it_is_the_only_score(metric: Metric) -> None:
    assert "accuracy" not in label_gain("freeze", Findings(rare(ON_CURVE)), metric)
