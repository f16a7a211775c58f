"""Balanced accuracy and macro F1 of groups of images; and, in simulation, that they hold."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from study.intervals.by_class import balanced_accuracy_interval, macro_f1_interval
from study.intervals.by_class_grouped import (
    Linear,
    balanced_accuracy_table,
    grouped_interval,
    macro_f1_table,
)
from study.intervals.grouped import by_groups
from study.intervals.two_way import DIFFERENCE_PSEUDO, SHARE_PSEUDO, two_way
from tests.support.studies.simulated_hits import Photos, half_of_seeds

BOTH = pytest.mark.parametrize("linear", [balanced_accuracy_table, macro_f1_table])


def drawn(seeds: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    labels = np.arange(n) % 7 % 3
    chosen = np.where(chance.random((seeds, n)) < 0.7, labels, chance.integers(3, size=(seeds, n)))
    return chosen, labels


GROUPS = pytest.mark.parametrize(
    "groups", [np.arange(100), np.arange(100) // 5, np.arange(100) // 40], ids=["100", "20", "3"]
)


@GROUPS
def test_means_are_the_scores_of_each_seed(groups: np.ndarray) -> None:
    """Whatever groups there are: here each has images of all classes, or just one image."""
    chosen, labels = drawn(4, 100)
    for table, score in (
        (balanced_accuracy_table, balanced_accuracy_score),
        (macro_f1_table, lambda y, p: f1_score(y, p, average="macro")),
    ):
        found = table(chosen, labels, groups)
        assert found.shape == (4, 100)
        assert found.mean(axis=1) == pytest.approx([score(labels, one) for one in chosen])


def test_groups_of_one_image_have_about_the_interval_of_images() -> None:
    chosen, labels = drawn(4, 210)
    groups = np.arange(210)
    for table, interval in (
        (balanced_accuracy_table, balanced_accuracy_interval),
        (macro_f1_table, macro_f1_interval),
    ):
        alone = interval(chosen, labels)
        grouped = grouped_interval(table(chosen, labels, groups), labels, groups, SHARE_PSEUDO)
        assert grouped.center == pytest.approx(alone.center, abs=0.01)
        assert grouped.error == pytest.approx(alone.error, rel=0.1)


def test_balanced_accuracy_of_one_network_by_hand() -> None:
    # Of classes 0 and 1 there is one group each, with recalls of 1 and 1/2; of class 2 there are
    # two, one right and one wrong.
    labels, groups = np.array([0, 0, 1, 1, 2, 2, 2, 2]), np.arange(8) // 2
    chosen = np.array([[0, 0, 1, 0, 2, 2, 0, 0]])
    table = balanced_accuracy_table(chosen, labels, groups)
    assert table.mean() == pytest.approx(2 / 3)
    # Both groups of the first two are 1/4 from their mean, those of class 2 are 1/2 from theirs.
    first, second = 2 * (2 * 0.25**2) / 3**2, (2 * 0.5**2) / 2 / 3**2
    assert two_way(by_groups(table, groups)).error ** 2 == pytest.approx(first + second)
    # Each has one degree of freedom, and both are 1/36.
    assert grouped_interval(table, labels, groups, SHARE_PSEUDO).df == pytest.approx(2)


@BOTH
@pytest.mark.parametrize("seeds", [1, 5])
def test_of_a_single_class_with_one_group_nothing_is_known(linear: Linear, seeds: int) -> None:
    labels = np.repeat([0, 1], [5, 60])
    groups, chosen = np.arange(65) // 5, np.tile(labels, (seeds, 1))
    table = linear(chosen, labels, groups)
    assert grouped_interval(table, labels, groups, SHARE_PSEUDO).half_width() > 1 / 2
    low, high = grouped_interval(table - table, labels, groups, DIFFERENCE_PSEUDO).ends()
    assert low < -1 / 2
    assert high > 1 / 2


@BOTH
def test_classes_whose_one_group_is_the_same_are_unknown_together(linear: Linear) -> None:
    labels = np.array([0, 1, 0, 1, *np.arange(40) % 2 + 2])
    groups = np.array([0] * 4 + [1 + n // 4 for n in range(40)])
    chosen = np.tile(labels, (3, 1))
    t = grouped_interval(linear(chosen, labels, groups), labels, groups, SHARE_PSEUDO)
    assert t.half_width() > 1 / 2


@BOTH
def test_width_is_not_below_that_of_the_seeds_alone(linear: Linear) -> None:
    chance = np.random.default_rng(0)
    for _ in range(100):
        labels = np.sort(np.append(chance.integers(0, 3, 12), range(3)))
        groups = np.unique(chance.integers(0, 6, 15), return_inverse=True)[1]
        right = chance.random((3, 15)) < chance.random((3, 1))
        chosen = np.where(right, labels, (labels + 1) % 3)
        table = linear(chosen, labels, groups)
        t = grouped_interval(table, labels, groups, SHARE_PSEUDO)
        assert t.half_width() >= half_of_seeds(table.mean(axis=1)) - 1e-9


@pytest.mark.integration
@pytest.mark.parametrize("of_classes", [
    [1] * 20, [1] * 5, [1, 1], [2, 2], [2] * 10, [1] * 8 + [12, 12], [1] + [2] * 9
], ids=["20x1", "5x1", "2x1", "2x2", "10x2", "8x1,2x12", "1,9x2"])  # fmt: skip
def test_intervals_hold_with_few_groups_of_a_class(of_classes: list[int]) -> None:
    """Coverage of a recall of 0.8, and false verdicts on equal modes, in 150 studies."""
    classes = np.repeat(np.arange(len(of_classes)), of_classes)
    photos = Photos(5, 5 * len(classes), 0.0, own=0.2, alike=0.4, group_size=5)
    labels, groups = np.repeat(classes, 5), np.arange(5 * len(classes)) // 5
    chance = np.random.default_rng(0)
    hits = photos.hits(chance, 150, np.full((2, 1), 0.8))[:, :, 0]
    wrong = (labels + chance.integers(1, len(of_classes), hits.shape)) % len(of_classes)
    covered, differs = [], []
    for studies in np.where(hits == 1, labels, wrong):
        one, other = (balanced_accuracy_table(chosen, labels, groups) for chosen in studies)
        low, high = grouped_interval(one, labels, groups, SHARE_PSEUDO).ends()
        covered.append(low <= 0.8 <= high)
        f1, less = (macro_f1_table(chosen, labels, groups) for chosen in studies)
        differs.append([
            grouped_interval(table, labels, groups, DIFFERENCE_PSEUDO).p_value() < 0.05
            for table in (one - other, f1 - less)
        ])  # fmt: skip
    assert np.mean(covered) >= 0.9
    assert np.mean(differs, axis=0).max() <= 0.06
