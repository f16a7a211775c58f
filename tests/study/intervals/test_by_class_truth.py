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


HARD = 0.5
"""Recall of the last class; that of the others is `ACCURACY`."""


def rare_and_hard(counts: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [N] and what five networks predict, [300, 5, N], of groups of one class.

    Args:
        counts: groups of each class.
        size: images of a group.
    """
    k, chance = len(counts), np.random.default_rng(0)
    labels = np.repeat(np.arange(k), np.array(counts) * size)
    of_groups = np.repeat(chance.standard_normal((300, 1, sum(counts))), size, axis=-1)
    hard = np.sqrt(0.6) * of_groups
    for part, shape in ((0.25, (1, len(labels))), (0.05, (5, 1)), (0.1, (5, len(labels)))):
        hard = hard + np.sqrt(part) * chance.standard_normal((300, *shape))
    limits = stats.norm.ppf(np.append(np.full(k - 1, ACCURACY), HARD))
    return labels, np.where(hard < limits[labels], labels, (labels + 1) % k)


def covered_by_one_table(labels: np.ndarray, chosen: np.ndarray, groups: np.ndarray) -> float:
    k, covered = labels.max() + 1, []
    truth = ((k - 1) * ACCURACY + HARD) / k
    for study in chosen:
        table = balanced_accuracy_table(study, labels, groups)
        low, high = grouped_interval(table, labels, groups, SHARE_PSEUDO).ends()
        covered.append(low <= truth <= high)
    return float(np.mean(covered))


@pytest.mark.parametrize("counts", [(50, 2), (50, 3), (50, 50, 50, 50, 50, 2)], ids=str)
def test_a_rare_hard_class_is_covered_where_one_table_of_all_fails(counts: tuple[int, ...]) -> None:
    """Its few images are often all right or all wrong, so they seem not to vary."""
    labels, chosen = rare_and_hard(counts, 1)
    truth = ((len(counts) - 1) * ACCURACY + HARD) / len(counts)
    assert share_covered(balanced_accuracy_interval(chosen, labels), truth) >= 0.97
    assert covered_by_one_table(labels, chosen, np.arange(len(labels))) < 0.9


@pytest.mark.parametrize("counts", [(20, 2), (20, 3), (10, 10, 10, 10, 10, 2)], ids=str)
def test_few_groups_of_a_hard_class_tell_too_little(counts: tuple[int, ...]) -> None:
    """A limit that docs/methods.md tells."""
    labels, chosen = rare_and_hard(counts, 5)
    assert 0.78 < covered_by_one_table(labels, chosen, np.arange(len(labels)) // 5) < 0.92


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
