"""Balanced accuracy and macro F1 of images in groups."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score

from study.intervals.by_class import (
    balanced_accuracy_interval,
    balanced_accuracy_table,
    macro_f1_interval,
    macro_f1_table,
)
from study.intervals.grouped import grouped_with_pseudo
from study.intervals.two_way import SHARE_PSEUDO, two_way


def drawn(seeds: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    labels = np.arange(n) % 7 % 3
    chosen = np.where(chance.random((seeds, n)) < 0.7, labels, chance.integers(3, size=(seeds, n)))
    return chosen, labels


def test_means_are_the_scores_of_each_seed() -> None:
    chosen, labels = drawn(4, 100)
    for table, score in (
        (balanced_accuracy_table, balanced_accuracy_score),
        (macro_f1_table, lambda y, p: f1_score(y, p, average="macro")),
    ):
        found = table(chosen, labels)
        assert found.shape == (4, 100)
        assert found.mean(axis=1) == pytest.approx([score(labels, one) for one in chosen])


def test_groups_of_one_image_have_about_the_interval_of_images() -> None:
    chosen, labels = drawn(4, 210)
    for table, interval in (
        (balanced_accuracy_table, balanced_accuracy_interval),
        (macro_f1_table, macro_f1_interval),
    ):
        alone = interval(chosen, labels)
        grouped = two_way(grouped_with_pseudo(table(chosen, labels), np.arange(210), SHARE_PSEUDO))
        assert grouped.center == pytest.approx(alone.center, abs=0.01)
        assert grouped.error == pytest.approx(alone.error, rel=0.1)


def test_intervals_over_groups_cover_balanced_accuracy_where_those_over_images_fail() -> None:
    """Groups of five images of one class; the rare one has a fifth of them."""
    labels = np.repeat(np.arange(60) % 5 == 0, 5).astype(np.int64)
    groups, chance, truth = np.arange(300) // 5, np.random.default_rng(0), 0.85
    covered = []
    for _ in range(150):
        hard = np.sqrt(0.6) * np.repeat(chance.standard_normal(60), 5)
        hard = hard + np.sqrt(0.4) * chance.standard_normal((3, 300))
        chosen = np.where(hard < stats.norm.ppf(truth), labels, 1 - labels)
        table = balanced_accuracy_table(chosen, labels)
        both = (
            balanced_accuracy_interval(chosen, labels),
            two_way(grouped_with_pseudo(table, groups, SHARE_PSEUDO)),
        )
        covered.append([low <= truth <= high for low, high in (t.ends() for t in both)])
    images, of_groups = np.mean(covered, axis=0)
    assert images < 0.88
    assert of_groups >= 0.9
