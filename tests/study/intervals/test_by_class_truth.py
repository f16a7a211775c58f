"""Intervals of balanced accuracy and macro F1 in simulated studies whose truth is known.

The classes have different sizes. Intervals over seeds alone fail here, as controls.
"""

import itertools

import numpy as np
import pytest
from scipy import stats

from study.intervals.by_class import (
    Interval,
    balanced_accuracy_interval,
    macro_f1_interval,
)
from study.intervals.by_class_grouped import balanced_accuracy_table, grouped_interval
from study.intervals.two_way import SHARE_PSEUDO, Floats
from tests.support.studies.simulated_hits import Photos, half_of_seeds, share_covered

pytestmark = pytest.mark.integration

STUDIES, ACCURACY = 1000, 0.90
SHARES = (0.8, 0.2)
WORLDS = [
    Photos(seeds, images, shared, own=0.05)
    for seeds, images, shared in itertools.product((3, 5), (60, 240), (0.5, 0.9))
]
BOTH = pytest.mark.parametrize("interval", [balanced_accuracy_interval, macro_f1_interval])


def labels_of(photos: Photos) -> np.ndarray:
    return np.repeat([0, 1], [round(share * photos.images) for share in SHARES])


def draw(photos: Photos, accuracies: tuple[float, ...]) -> np.ndarray:
    """Classes that modes of such accuracies predict, [modes, studies, S, N]."""
    truth = np.array(accuracies)[:, None]
    hits = photos.hits(np.random.default_rng(0), STUDIES, truth)[:, :, 0].swapaxes(0, 1)
    return np.where(hits == 1, labels_of(photos), 1 - labels_of(photos))


def truth_of(interval: Interval, photos: Photos, accuracy: float) -> float:
    """The mean score over seeds on endless images, of which SHARES are of each class."""
    if interval is balanced_accuracy_interval:
        return accuracy
    # A seed shifts how hard all images are, and so its accuracy.
    shift = stats.norm.ppf((np.arange(1000) + 0.5) / 1000) * np.sqrt(photos.seed)
    seeds = stats.norm.cdf((stats.norm.ppf(accuracy) - shift) / np.sqrt(1 - photos.seed))
    n = np.array(SHARES)[:, None]
    predicted = n * seeds + n[::-1] * (1 - seeds)
    return float((2 * n * seeds / (n + predicted)).mean())


@BOTH
def test_intervals_cover_the_score_on_new_photos(interval: Interval) -> None:
    covered = []
    for photos in WORLDS:
        found = interval(draw(photos, (ACCURACY,))[0], labels_of(photos), None)
        covered.append(share_covered(found, truth_of(interval, photos, ACCURACY)))
    assert min(covered) >= 0.92


def test_seeds_alone_do_not() -> None:
    covered = []
    for photos in WORLDS:
        right = draw(photos, (ACCURACY,))[0] == labels_of(photos)
        recalls = [right[..., labels_of(photos) == c].mean(axis=-1) for c in (0, 1)]
        means: Floats = np.mean(recalls, axis=0)
        covered.append(np.mean(abs(means.mean(axis=-1) - ACCURACY) <= half_of_seeds(means)))
    assert min(covered) < 0.65
    assert np.mean(covered) < 0.85


@BOTH
def test_equal_modes_are_seldom_called_different(interval: Interval) -> None:
    wrong = []
    for photos in WORLDS:
        one, other = draw(photos, (ACCURACY, ACCURACY))
        wrong.append(np.mean(interval(one, labels_of(photos), other).p_value() < 0.05))
    assert max(wrong) <= 0.07


@BOTH
def test_intervals_cover_a_true_difference(interval: Interval) -> None:
    covered = []
    for photos in WORLDS:
        one, other = draw(photos, (ACCURACY, ACCURACY - 0.05))
        found = interval(one, labels_of(photos), other)
        truth = truth_of(interval, photos, ACCURACY) - truth_of(interval, photos, ACCURACY - 0.05)
        covered.append(share_covered(found, truth))
    assert min(covered) >= 0.92


def test_intervals_over_groups_cover_balanced_accuracy_where_those_over_images_fail() -> None:
    """Groups of five images of one class; the rare one has a fifth of them."""
    labels = np.repeat(np.arange(60) % 5 == 0, 5).astype(np.int64)
    groups, chance, truth = np.arange(300) // 5, np.random.default_rng(0), 0.85
    covered = []
    for _ in range(150):
        hard = np.sqrt(0.6) * np.repeat(chance.standard_normal(60), 5)
        hard = hard + np.sqrt(0.4) * chance.standard_normal((3, 300))
        chosen = np.where(hard < stats.norm.ppf(truth), labels, 1 - labels)
        table = balanced_accuracy_table(chosen, labels, groups)
        both = (
            balanced_accuracy_interval(chosen, labels),
            grouped_interval(table, labels, groups, SHARE_PSEUDO),
        )
        covered.append([low <= truth <= high for low, high in (t.ends() for t in both)])
    images, of_groups = np.mean(covered, axis=0)
    assert images < 0.88
    assert of_groups >= 0.9


LONG_TAIL = np.concatenate([np.repeat([0, 1], 30), np.arange(2, 30)])


@BOTH
@pytest.mark.parametrize(
    "labels", [np.arange(100), np.arange(30), LONG_TAIL], ids=["100", "30", "tail"]
)
def test_classes_with_one_image_are_covered(interval: Interval, labels: np.ndarray) -> None:
    photos = Photos(5, len(labels), 0.54, own=0.36, seed=0.02)
    chance, k = np.random.default_rng(0), labels.max() + 1
    for accuracy in (0.7, 0.9):
        hits = photos.hits(chance, 300, np.full((2, 1), accuracy))[:, :, 0].swapaxes(0, 1)
        wrong = (labels + chance.integers(1, k, hits.shape)) % k
        one, other = np.where(hits == 1, labels, wrong)
        assert np.mean(interval(one, labels, other).p_value() < 0.05) <= 0.07
        if interval is balanced_accuracy_interval:
            assert share_covered(interval(one, labels, None), accuracy) >= 0.93
