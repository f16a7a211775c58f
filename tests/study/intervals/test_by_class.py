"""Intervals of balanced accuracy and macro F1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from study.intervals.by_class import (
    Interval,
    balanced_accuracy_interval,
    macro_f1_interval,
    macro_f1_parts,
)
from study.intervals.two_way import DIFFERENCE_PSEUDO, SHARE_PSEUDO, Floats, two_way
from tests.support.studies.simulated_hits import half_of_seeds

BOTH = pytest.mark.parametrize("interval", [balanced_accuracy_interval, macro_f1_interval])
LABELS = np.array([0] * 6 + [1] * 3 + [2] * 3)
choices = st.integers(2, 3).flatmap(lambda s: arrays(np.int64, (s, 12), elements=st.integers(0, 2)))


def test_one_class_is_one_table() -> None:
    hits = np.random.default_rng(0).random((3, 40)) < 0.8
    other = np.random.default_rng(1).random((3, 40)) < 0.8
    labels = np.zeros(40, dtype=np.int64)
    found = balanced_accuracy_interval(1 - hits.astype(int), labels)
    expected = two_way(hits.astype(float), SHARE_PSEUDO)
    assert (found.center, found.error, found.df) == pytest.approx(
        (expected.center, expected.error, expected.df)
    )
    found = balanced_accuracy_interval(1 - hits.astype(int), labels, 1 - other.astype(int))
    expected = two_way(hits.astype(float) - other, DIFFERENCE_PSEUDO)
    assert (found.center, found.error, found.df) == pytest.approx(
        (expected.center, expected.error, expected.df)
    )


def test_balanced_accuracy_of_one_network_by_hand() -> None:
    # 6 of 8 are right, and 1 of 2. One right and one wrong more make 7 of 10, and 2 of 4.
    labels = np.array([0] * 8 + [1] * 2)
    chosen = np.array([[0] * 6 + [1, 1, 0, 1]])
    t = balanced_accuracy_interval(chosen, labels)
    one, two = 0.7 * 0.3 / 9, 0.5 * 0.5 / 3
    assert t.center == pytest.approx((0.7 + 0.5) / 2)
    assert t.error == pytest.approx(np.sqrt((one + two) / 4))
    assert t.df == pytest.approx((one + two) ** 2 / (one**2 / 9 + two**2 / 3))


def test_variance_by_hand_with_two_seeds() -> None:
    # All of class 0 are right. Of two images of class 1, one is right on the first seed alone.
    labels = np.array([0, 0, 1, 1])
    t = balanced_accuracy_interval(np.array([[0, 0, 1, 0], [0, 0, 0, 0]]), labels)
    # With a right and a wrong one, class 0 has 1, 1, 1, 0, and class 1 has 1, 0, 1, 0 and
    # 0, 0, 1, 0. Of the images, the seeds recognise 3/4 and 1/2, as means over the classes.
    seeds = (1 / 4) ** 2 / 2 / 2
    first, second = 0.75 / 3 / 4, (0.25 + 1 - 4 * 0.375**2) / 3 / 4
    # On class 1 the seeds are 1/4 above and below their mean, on its pseudo-images too. So only its
    # two images are left, each as far from that.
    rest = 4 * 0.25**2 / 1 / 3 / 2 / 4
    variance = seeds + (first + second - rest) / 4
    assert t.center == pytest.approx(9 / 16)
    assert t.error == pytest.approx(np.sqrt(max(variance, seeds, (first + second) / 4)))


@BOTH
def test_all_right_has_a_width_and_equal_networks_do_not_differ(interval: Interval) -> None:
    labels = np.repeat([0, 1, 2], [120, 60, 20])
    right = np.tile(labels, (5, 1))
    t = interval(right, labels, None)
    assert 0.97 < t.center < 1
    assert t.ends()[0] < 0.98
    assert t.ends()[1] >= 1
    chosen = np.where(np.arange(200) % 10 == 0, 0, right)
    t = interval(chosen, labels, chosen)
    assert [float(t.center), float(t.p_value())] == [0, 1]
    assert t.error > 0


@BOTH
def test_many_classes_are_not_pulled_to_the_middle(interval: Interval) -> None:
    labels = np.repeat(np.arange(40), 5)
    chosen = np.where(np.arange(200) % 10 == 0, (labels + 1) % 40, labels)
    assert interval(chosen[None], labels, None).center == pytest.approx(0.9, abs=0.01)


def macro_f1(labels: np.ndarray, chosen: np.ndarray) -> float:
    """As scikit-learn's, which takes a millisecond."""
    k = labels.max() + 1
    table = np.bincount(k * labels + chosen, minlength=k * k).reshape(k, k)
    return float(np.mean(2 * np.diag(table) / (table.sum(axis=0) + table.sum(axis=1))))


def test_error_of_macro_f1_is_that_of_drawing_images_anew() -> None:
    chance = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [600, 200, 100])
    chosen = np.where(chance.random(900) < 0.85, labels, chance.integers(0, 3, 900))
    drawn = []
    for _ in range(400):
        at = np.concatenate([chance.choice(np.flatnonzero(labels == c), (labels == c).sum())
                             for c in range(3)])  # fmt: skip
        drawn.append(macro_f1(labels[at], chosen[at]))
    t = macro_f1_interval(chosen[None], labels)
    score = f1_score(labels, chosen, average="macro")
    assert macro_f1(labels, chosen) == pytest.approx(score, abs=1e-9)
    assert t.center == pytest.approx(score, abs=0.005)
    assert t.error == pytest.approx(np.std(drawn), rel=0.1)


def test_error_of_a_difference_in_macro_f1_is_that_of_drawing_images_anew() -> None:
    chance = np.random.default_rng(0)
    labels = np.repeat([0, 1], [600, 200])
    hard = chance.random(800)
    one, other = (
        np.where(hard + 0.1 * chance.random(800) < limit, labels, 1 - labels)
        for limit in (0.95, 0.9)
    )
    drawn = []
    for _ in range(400):
        at = np.concatenate([chance.choice(np.flatnonzero(labels == c), (labels == c).sum())
                             for c in range(2)])  # fmt: skip
        drawn.append(macro_f1(labels[at], one[at]) - macro_f1(labels[at], other[at]))
    t = macro_f1_interval(one[None], labels, other[None])
    assert t.center == pytest.approx(np.mean(drawn), abs=0.005)
    assert t.error == pytest.approx(np.std(drawn), rel=0.1)


@BOTH
def test_seeds_that_differ_on_all_images_have_the_variance_of_seeds(interval: Interval) -> None:
    labels = np.repeat([0, 1], 20_000)
    chance = np.random.default_rng(0)
    right = chance.random((4, 40_000)) < np.array([[0.7], [0.8], [0.85], [0.95]])
    t = interval(np.where(right, labels, 1 - labels), labels, None)
    assert t.error == pytest.approx(np.std([0.7, 0.8, 0.85, 0.95], ddof=1) / 2, rel=0.02)
    assert t.df == pytest.approx(3, abs=0.1)


def score_of_seeds(interval: Interval, chosen: np.ndarray) -> Floats:
    """The score of each seed, without pseudo-images, [S]."""
    if interval is macro_f1_interval:
        return macro_f1_parts(chosen, LABELS, 0.0, np.zeros(3, dtype=bool))[0]
    right = chosen == LABELS
    recalls: Floats = np.mean([right[:, c == LABELS].mean(axis=1) for c in range(3)], axis=0)
    return recalls


@BOTH
@given(chosen=choices, other=st.none() | choices, by=st.integers(0, 2))
def test_laws(interval: Interval, chosen: np.ndarray, other: np.ndarray | None, by: int) -> None:
    """Neither the order of seeds and images nor the names of classes matter."""
    minus = None if other is None else np.resize(other, chosen.shape)
    t = interval(chosen, LABELS, minus)
    mixed = interval(chosen[::-1, ::-1], LABELS[::-1], None if minus is None else minus[::-1, ::-1])
    renamed = interval(
        (chosen + by) % 3, (LABELS + by) % 3, None if minus is None else (minus + by) % 3
    )
    for same in (mixed, renamed):
        assert (same.center, same.error, same.df) == pytest.approx((t.center, t.error, t.df))
    assert t.df >= len(chosen) - 1 - 1e-9
    assert t.error > 0
    scores = score_of_seeds(interval, chosen)
    if minus is not None:
        scores = scores - score_of_seeds(interval, minus)
    assert t.half_width() >= half_of_seeds(scores) - 1e-9
    if minus is not None:
        swapped = interval(minus, LABELS, chosen)
        assert (swapped.center, swapped.error) == pytest.approx((-t.center, t.error))


@BOTH
def test_many_studies_at_once(interval: Interval) -> None:
    chosen = np.random.default_rng(0).integers(0, 3, (4, 2, 3, 12))
    t, alone = interval(chosen, LABELS, None), interval(chosen[3, 1], LABELS, None)
    assert t.center.shape == t.error.shape == t.df.shape == (4, 2)
    assert (t.center[3, 1], t.error[3, 1], t.df[3, 1]) == pytest.approx(
        (alone.center, alone.error, alone.df)
    )


@BOTH
@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2], [0] * 50 + [1], [*range(37)]])
@pytest.mark.parametrize("right", [True, False])
def test_one_image_in_a_class_makes_nothing_sure(
    interval: Interval, seeds: int, labels: list[int], right: bool
) -> None:
    truth = np.array(labels)
    chosen = np.tile(truth if right else (truth + 1) % (truth.max() + 1), (seeds, 1))
    low, high = interval(chosen, truth, None).ends()
    # One more image of each class may be wrong, or right: then so much of the mean is.
    assert high - low > 1 / len(labels)
    assert low < 1 - 1 / len(labels) if right else high > 1 / len(labels)
    same = interval(chosen, truth, chosen)
    assert same.center == 0
    assert same.half_width() > 1 / len(labels)


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_image_of_each_class_is_an_accuracy(seeds: int) -> None:
    labels, chance = np.arange(12), np.random.default_rng(0)
    chosen, other = (
        np.where(chance.random((seeds, 12)) < 0.7, labels, (labels + 1) % 12) for _ in range(2)
    )
    hits, less = chosen == labels, 1.0 * (other == labels)
    for found, expected in (
        (balanced_accuracy_interval(chosen, labels), two_way(1.0 * hits, SHARE_PSEUDO)),
        (
            balanced_accuracy_interval(chosen, labels, other),
            two_way(hits - less, DIFFERENCE_PSEUDO),
        ),
    ):
        assert (found.center, found.error, found.df) == pytest.approx(
            (expected.center, expected.error, expected.df)
        )


def test_of_a_single_class_with_one_image_nothing_is_known() -> None:
    # With a right and a wrong one more, 7 of 10 of class 0 are right, and 2 of 3 of class 1.
    labels = np.array([0] * 8 + [1])
    t = balanced_accuracy_interval(np.array([[0] * 6 + [1, 1, 1]]), labels)
    known = 0.7 * 0.3 / 9 / 4
    assert t.center == pytest.approx((0.7 + 2 / 3) / 2)
    assert t.df == pytest.approx(9)
    assert t.half_width() == pytest.approx(2.2622 * np.sqrt(known) + 1 / 2, abs=1e-4)


def test_macro_f1_of_classes_with_one_image_by_hand() -> None:
    # Class 0 is right, and class 1 is taken for it: F1 is 2 / (1 + 2), and 0. The right image adds
    # all of its class's F1; the wrong one makes this smaller by 2/3 of 1 / (1 + 2).
    alone = np.array([True, True])
    f1, parts, _, _ = macro_f1_parts(np.array([[0, 0]]), np.array([0, 1]), 0.0, alone)
    assert f1 == pytest.approx(1 / 3)
    assert parts[0] == pytest.approx([2 / 3 / 2, -2 / 9 / 2])
    _, parts, _, _ = macro_f1_parts(np.array([[0, 0]]), np.array([0, 1]), 0.0, ~alone)
    assert parts[0] == pytest.approx([(2 / 3 - 2 / 9) / 2, -2 / 9 / 2])
