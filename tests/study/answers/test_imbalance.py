"""The sentence on classes of very different sizes."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from study.analysis.estimates import summarize
from study.analysis.images.recall import Recall
from study.analysis.study_data import read_study_data
from study.answers.answer import answer_of
from study.answers.imbalance import imbalance
from study.config.settings import Settings
from study.reporting.build import next_steps
from tests.support.studies.builders import make_epoch, make_record, make_settings
from tests.support.studies.image_tables import seen
from tests.support.studies.synthetic import tiny_study

SETTINGS = make_settings(mode=["freeze"], train_ratio=["0.1"])
DONE = make_settings(
    mode=["freeze"], train_ratio=["0.1"], class_weights="balanced", metric="val_balanced_accuracy"
)
(CELL,) = summarize(seen("freeze", 0.1, np.tile(np.arange(40) % 10 > 1, (3, 1))))
SEARCHED = make_record()


@pytest.mark.parametrize("sizes", [(100, 100), (300, 100), (5,)])
def test_classes_of_similar_sizes_need_no_word(sizes: tuple[int, ...]) -> None:
    assert imbalance(sizes, SETTINGS, CELL) is None


def test_both_accuracies_have_their_intervals() -> None:
    found = imbalance((3000, 40, 900), SETTINGS, CELL)
    assert found is not None
    start = (
        "The classes are imbalanced, with 40 to 3,000 images each, so an accuracy says little "
        "about the small ones: the winner's test accuracy is 80.0 % ("
    )
    assert found.startswith(start)
    low, high = (
        f"{100 * (e or 0):.1f}" for e in (CELL.scores["test_balanced_accuracy"].low,
                                          CELL.scores["test_balanced_accuracy"].high)
    )  # fmt: skip
    middle = f"its balanced accuracy, the mean recall of the classes, 80.0 % ({low} to {high} %). "
    assert middle in found
    assert found.endswith(
        ". --class-weights balanced makes all classes count alike in training and --metric "
        "val_balanced_accuracy chooses the best trials by balanced accuracy."
    )


def test_the_classes_that_are_recognised_worst_are_named() -> None:
    weak = [Recall("owl", 40, 0.6, 0.5, 0.7), Recall("elk", 2, 1.0, 0.34, 1.0)]
    found = imbalance((90, 10), SETTINGS, CELL, weak)
    assert found is not None
    assert (
        "Of class 'owl' the winner recognises 60 % (50 to 70 %), the mean of 3 seeds, of 40 test "
        "images. Of class 'elk' the winner recognises 100 % (34 to 100 %), the mean of 3 seeds, of "
        "2 test images. "
        "The worst are partly so by chance: these intervals hold for all classes at once. --class"
    ) in found
    alone = imbalance((90, 10), SETTINGS, replace(CELL, seeds=(0,)), weak)
    assert alone is not None
    assert "the winner recognises 60 % (50 to 70 %), of 40 test images. Of" in alone


WIDER = "which tells nothing of its others and makes the interval of balanced accuracy wider."


def test_what_a_single_test_photo_tells_is_said() -> None:
    (cell,) = summarize(seen("freeze", 0.1, np.ones((3, 41)), labels=np.repeat([0, 1], [40, 1])))
    found = imbalance((90, 10), SETTINGS, cell, [Recall("elk", 1, 1 / 3, 0.03, 0.91)])
    assert found is not None
    assert (
        "Of class 'elk' the winner recognises 33 % (3 to 91 %), the mean of 3 seeds, of 1 test "
        f"image. A class has a single test photo, {WIDER} The worst is partly so by chance: this "
        "interval holds for all classes at once. --class"
    ) in found


def test_so_is_what_a_single_test_group_tells() -> None:
    labels, groups = np.repeat([0, 1], [40, 4]), np.arange(44) // 4
    trials = seen("freeze", 0.1, np.ones((3, 44)), groups, labels)
    named = [replace(c, images=replace(c.images, named=True)) for c in trials if c.images]
    for which, what in ((named, "group"), (trials, "photo")):  # Of four copies.
        (cell,) = summarize(which)
        found = imbalance((90, 10), SETTINGS, cell)
        assert found is not None
        assert f". A class has a single test {what}, {WIDER} --class" in found


def test_where_no_interval_is_wider_for_it_nothing_is_said() -> None:
    labels = np.concatenate([np.zeros(40, np.int64), [1, 2]])
    trials = seen("freeze", 0.1, np.ones((3, 42)), labels=labels)
    of_these_images = [replace(c, images=None) for c in trials]
    for which in (trials, of_these_images):
        (cell,) = summarize(which)
        found = imbalance((90, 10), SETTINGS, cell, [Recall("elk", 1, 1.0, 0.2, 1.0)])
        assert found is not None
        assert "balanced accuracy, the mean recall" in found
        assert "single" not in found


def test_without_a_confirmation_they_are_of_validation_and_have_none() -> None:
    found = imbalance((90, 10), SETTINGS, SEARCHED)
    assert found is not None
    assert (
        "the best trial's validation accuracy (no interval) is 87.5 %, its balanced accuracy, the "
        "mean recall of the classes, 81.2 %. " in found
    )


def test_studies_of_earlier_versions_did_not_measure_it() -> None:
    without = {name: e for name, e in CELL.scores.items() if name != "test_balanced_accuracy"}
    earlier = replace(SEARCHED, history=[make_epoch(val_balanced_accuracy=None)])
    for best in (replace(CELL, scores=without), earlier):
        found = imbalance((90, 10), SETTINGS, best)
        assert found is not None
        assert re.search(r" %\)?, its balanced accuracy was not measured\. --class", found)


def test_what_the_study_has_done_is_not_advised() -> None:
    found = imbalance((90, 10), DONE, CELL)
    assert found is not None
    assert found.endswith("; balanced accuracy, the mean recall of the classes, counts them alike.")
    assert "--" not in found


def test_macro_f1_counts_classes_alike_too() -> None:
    found = imbalance((90, 10), SETTINGS.model_copy(update={"metric": "val_macro_f1"}), CELL)
    assert found is not None
    assert found.endswith("--class-weights balanced makes all classes count alike in training.")


@pytest.mark.parametrize(("settings", "step"), [(SETTINGS, True), (DONE, False)])
def test_a_study_says_so_and_what_to_try(
    settings: Settings, step: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study()
    study.settings = study.settings.model_copy(update={"class_weights": settings.class_weights})
    about = type(study).about
    uneven = {"cat": 2200, "dog": 200}

    def with_uneven(self: object, records: object) -> dict[str, object]:
        told = about(self, records)  # type: ignore[arg-type]
        return told | {"data": told["data"] | {"classes": uneven}}

    monkeypatch.setattr(type(study), "about", with_uneven)
    data = read_study_data(study.write(tmp_path / "tiny"))
    assert data.classes == uneven
    found = answer_of(data)
    assert [s.startswith("The classes are imbalanced, with 200 to 2,200 ") for s in found[:5]] == [
        False, False, False, True, False,
    ]  # fmt: skip
    commands = [s.command for s in next_steps(data)]
    alike = "--class-weights balanced --metric val_balanced_accuracy"
    # Flags stand in the order of the settings, with others between them.
    words = [{*command.split()} for command in commands]
    assert any({*alike.split()} <= some for some in words) == step
