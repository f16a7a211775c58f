"""Tables of groups instead of images; and, in simulation, that their intervals hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from study.intervals.grouped import (
    by_groups,
    free_groups,
    grouped_with_pseudo,
    number_groups,
)
from study.intervals.pigeonhole import auroc_draws, auroc_interval
from study.intervals.two_way import DIFFERENCE_PSEUDO, SHARE_PSEUDO, Floats, two_way
from tests.support.studies.simulated_hits import Photos, half_of_seeds, share_covered

STUDIES = 150


def test_groups_of_one_size_are_their_means() -> None:
    table = np.array([[1.0, 0, 1, 1], [0, 0, 1, 0]])
    found = by_groups(table, np.array([0, 1, 1, 0]))
    assert found.tolist() == [[1, 0.5], [0, 0.5]]
    assert by_groups(table, None) is table


def test_groups_of_two_sizes_by_hand() -> None:
    # Three images at 1 and one at 0: m = 0.75, and groups have 2 images on average.
    # A group of 3 is at 0.75 + 3 (1 - 0.75) / 2, one of 1 at 0.75 + (0 - 0.75) / 2: both are 0.375
    # from the mean. Of its square, 1/4 is left for the large group and 3/4 for the small one, and
    # the table makes up for 1/2 itself. Their mean is brought back to 0.75.
    found = by_groups(np.array([[1.0, 1, 1, 0]]), groups := np.array([0, 0, 0, 1]))
    apart = 0.375 * (np.sqrt(2) + np.sqrt(2 / 3)) / 2
    assert found == pytest.approx(np.array([[0.75 + apart, 0.75 - apart]]))
    # Satterthwaite's degrees of freedom: (9 + 1)^2 / (81 + 1), less one of the mean.
    assert free_groups(groups) == pytest.approx(100 / 82 - 1)
    assert free_groups(np.arange(12) // 4, 2) == pytest.approx(2 + 2), "of one size, as they are"


@given(st.lists(st.integers(0, 4), min_size=2, max_size=20), st.integers(0, 99))
def test_means_stay_those_of_the_images(numbers: list[int], seed: int) -> None:
    groups = np.unique(numbers, return_inverse=True)[1]
    tables = np.random.default_rng(seed).normal(size=(2, 3, len(groups)))
    found = by_groups(tables, groups)
    assert found.mean(axis=-1) == pytest.approx(tables.mean(axis=-1))
    assert by_groups(7 - tables, groups) == pytest.approx(7 - found)


def test_pseudo_images_weigh_as_much_as_an_image_tells() -> None:
    # Two groups of two equal images: a pseudo-image is a whole group. So it is without variance.
    same = np.array([[1.0, 1, 0, 0, 1, 1, 1, 1]])
    pairs = np.arange(8) // 2
    assert grouped_with_pseudo(same, pairs, SHARE_PSEUDO).tolist() == [[1, 0, 1, 1, 1, 1, 0, 0]]
    right = np.ones((2, 8))
    assert grouped_with_pseudo(right, pairs, (1.0, 0.0)) == pytest.approx(
        np.array([[1, 1, 1, 1, 1, 0]] * 2)
    )
    # Groups that are all alike tell as much by image as if images were on their own: half a group.
    alike = np.array([[1.0, 0, 1, 0, 0, 1, 0, 1]])
    found = grouped_with_pseudo(alike, pairs, DIFFERENCE_PSEUDO)
    # With them, 4 of 10 images are left over, and groups have 10 / 6 images on average. Groups are
    # at 0.4 + (1 - 2 * 0.4) * 0.6, pseudo-images at 0.4 + (1 - 0.4) * 0.6 and 0.4 - 1.4 * 0.6. Of
    # squares, 8/10 and 9/10 are left, and the table makes up for 5/6 itself.
    apart = np.array([0.12] * 4 + [0.36, -0.84]) * np.sqrt([25 / 24] * 4 + [25 / 27] * 2)
    assert found == pytest.approx(0.4 + (apart - apart.mean())[None])
    assert grouped_with_pseudo(same, None, (1.0,)).tolist() == [[*same[0], 1]]


def test_two_groups_do_not_tell_how_alike_their_images_are() -> None:
    # So a pseudo-image is a whole group.
    found = grouped_with_pseudo(np.array([[1.0, 0, 0, 1]]), np.arange(4) // 2, DIFFERENCE_PSEUDO)
    assert found.tolist() == [[0.5, 0.5, 1, -1]]
    alike = np.array([[1.0, 0, 1, 0] * 3])
    # Of three, it is half a group. So 8 of 14 images are right, and groups have 3.5 on average.
    found = grouped_with_pseudo(alike, np.arange(12) // 4, (1.0,))
    # Of squares, 5/7 and 6/7 are left, and the table makes up for 3/4 itself.
    apart = np.array([-4, -4, -4, 12]) / 49 * np.sqrt([1.05, 1.05, 1.05, 0.875])
    assert found == pytest.approx(4 / 7 + (apart - apart.mean())[None])


def test_numbers_of_groups() -> None:
    found = number_groups(np.array([7, 3, 7]))
    assert found is not None
    assert found.tolist() == [1, 0, 1]
    assert number_groups(np.array([7, 3, 5])) is None


def test_auroc_of_groups_of_one_image_is_linear_and_near_that_of_images() -> None:
    chance = np.random.default_rng(0)
    labels = np.arange(80) % 2
    logits = (labels + chance.normal(size=80))[:, None]
    alone = auroc_draws(logits, labels)
    grouped = auroc_draws(logits, labels, np.arange(80))
    assert grouped[0] == pytest.approx(alone[0])
    assert grouped[1:].std() == pytest.approx(alone[1:].std(), rel=0.05)
    one, other = (
        auroc_interval(draws[None], labels, groups)
        for draws, groups in ((alone, None), (grouped, np.arange(80)))
    )
    assert (other.df, one.df) == pytest.approx((78, 78)), "of 40 of each class"
    assert other.error == pytest.approx(one.error, rel=0.05)


def test_auroc_of_copies_is_that_of_the_photos() -> None:
    """Five copies of each image tell no more than one: as wide, where images would be narrower."""
    chance = np.random.default_rng(0)
    labels = np.arange(60) % 2
    logits = (labels + chance.normal(size=60))[:, None]
    copies, groups = np.repeat(logits, 5, axis=0), np.repeat(np.arange(60), 5)
    once = auroc_interval(auroc_draws(logits, labels, np.arange(60))[None], labels)
    five = np.repeat(labels, 5)
    many = auroc_interval(auroc_draws(copies, five, groups)[None], five, groups)
    fooled = auroc_interval(auroc_draws(copies, five)[None], five)
    assert many.center == pytest.approx(once.center)
    assert many.error == pytest.approx(once.error, rel=0.1)
    assert fooled.error < 0.6 * many.error
    assert many.df == pytest.approx(58)


def test_auroc_of_groups_of_both_classes_and_of_networks_that_make_no_error() -> None:
    labels, groups = np.arange(40) % 2, np.arange(40) // 4
    logits = np.where(labels == 1, 3.0, -3.0)[:, None]
    draws = auroc_draws(logits, labels, groups)
    assert draws.tolist() == [1.0] * len(draws)
    t = auroc_interval(draws[None], labels, groups)
    # As if one of ten groups of each class could be ranked last.
    assert t.error == pytest.approx(np.sqrt(2 / 10**2))
    assert t.df == 9


def correlated(
    chance: np.random.Generator, accuracies: tuple[float, ...], groups: np.ndarray, seeds: int
) -> Floats:
    """Hits of some modes, [modes, studies, S, N], of which images of a group are alike.

    A latent ease of each image has a part of its group, one of its own and one of each seed.
    """
    n, g = len(groups), groups.max() + 1
    shape = (len(accuracies), STUDIES, 1)
    of_group = np.sqrt(0.45) * chance.standard_normal((1, STUDIES, 1, g))[..., groups]
    of_mode = np.sqrt(0.2) * chance.standard_normal((*shape, g))[..., groups]
    own = np.sqrt(0.2) * chance.standard_normal((1, STUDIES, 1, n))
    rest = np.sqrt(0.15) * chance.standard_normal((*shape[:2], seeds, n))
    threshold = stats.norm.ppf(accuracies)[:, None, None, None]
    hits: Floats = (of_group + of_mode + own + rest < threshold).astype(float)
    return hits


@pytest.mark.parametrize(
    "sizes", [np.full(24, 5), np.full(48, 5), 1 + np.arange(48) % 9], ids=["24", "48", "unequal"]
)
def test_intervals_cover_the_accuracy_on_photos_of_new_groups(sizes: np.ndarray) -> None:
    """Groups of five images: those over images fail, those over groups hold."""
    groups, chance = np.repeat(np.arange(len(sizes)), sizes), np.random.default_rng(0)
    for accuracy in (0.85, 0.95):
        (hits,) = correlated(chance, (accuracy,), groups, seeds=5)
        assert share_covered(two_way(hits, SHARE_PSEUDO), accuracy) < 0.85
        assert (
            share_covered(two_way(grouped_with_pseudo(hits, groups, SHARE_PSEUDO)), accuracy) >= 0.9
        )


@pytest.mark.parametrize("size", [3, 10])
@pytest.mark.parametrize(("alike", "seed"), [(0.3, 0.1), (0.5, 0.01)])
def test_intervals_hold_with_six_groups(size: int, alike: float, seed: float) -> None:
    photos = Photos(5, 6 * size, 0.2, own=0.05, seed=seed, alike=alike, group_size=size)
    for accuracy in (0.75, 0.9):
        truth = np.full((2, 1), accuracy)
        a, b = photos.hits(np.random.default_rng(0), 400, truth)[:, :, 0].swapaxes(0, 1)
        t = two_way(grouped_with_pseudo(a, photos.groups, SHARE_PSEUDO))
        assert share_covered(t, accuracy) >= 0.92
        assert (t.half_width() >= half_of_seeds(a.mean(axis=-1)) - 1e-9).all()
        t = two_way(grouped_with_pseudo(a - b, photos.groups, DIFFERENCE_PSEUDO))
        assert np.mean(t.p_value() < 0.05) <= 0.05
        assert (t.half_width() >= half_of_seeds((a - b).mean(axis=-1)) - 1e-9).all()


@given(st.integers(0, 999), st.integers(2, 6), st.integers(2, 12), st.booleans())
def test_law_of_width(seed: int, seeds: int, images: int, paired: bool) -> None:
    """New photos of new groups never have a narrower interval than the seeds alone."""
    chance = np.random.default_rng(seed)
    groups = np.unique(chance.integers(0, images, images), return_inverse=True)[1]
    one, other = chance.random((2, seeds, images)) < chance.random((2, seeds, 1))
    table = one - 1.0 * other if paired else one.astype(float)
    pseudo = DIFFERENCE_PSEUDO if paired else SHARE_PSEUDO
    for of_images in (groups if groups.any() else None, None):
        t = two_way(grouped_with_pseudo(table, of_images, pseudo))
        assert t.half_width() >= half_of_seeds(table.mean(axis=-1)) - 1e-9


def test_intervals_of_differences_on_photos_of_new_groups() -> None:
    groups, chance = np.arange(240) // 5, np.random.default_rng(0)
    for first, second in ((0.9, 0.9), (0.9, 0.85)):
        a, b = correlated(chance, (first, second), groups, seeds=5)
        images = two_way(a - b, DIFFERENCE_PSEUDO)
        of_groups = two_way(grouped_with_pseudo(a - b, groups, DIFFERENCE_PSEUDO))
        assert share_covered(images, first - second) < 0.87
        assert share_covered(of_groups, first - second) >= 0.9
        if first == second:
            assert np.mean(images.p_value() < 0.05) > 0.12
            assert np.mean(of_groups.p_value() < 0.05) <= 0.07
