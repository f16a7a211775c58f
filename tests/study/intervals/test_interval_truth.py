"""Intervals and verdicts in simulated studies whose truth is known, and what they were before.

The intervals of earlier versions covered other seeds on the same test images. As controls, they
fail here.
"""

import itertools

import numpy as np
import pytest

from study.analysis.comparisons import holm, mode_differences
from study.intervals.two_way import DIFFERENCE_PSEUDO, SHARE_PSEUDO, Floats, two_way
from tests.support.studies.image_tables import seen_in_study
from tests.support.studies.simulated_hits import Photos, half_of_seeds, share_covered
from tl_core.config import MODES

pytestmark = pytest.mark.integration

STUDIES = 1000
WORLDS = [
    (Photos(seeds, images, shared, own=0.05), accuracy)
    for seeds, images, accuracy, shared in itertools.product(
        (3, 5), (60, 240), (0.90, 0.98), (0.5, 0.9)
    )
]


def draw(photos: Photos, accuracy: float, modes: int) -> Floats:
    """Hits of so many equal modes, [modes, studies, S, N]."""
    truth = np.full((modes, 1), accuracy)
    hits = photos.hits(np.random.default_rng(0), STUDIES, truth)
    return hits[:, :, 0].swapaxes(0, 1)


def seeds_only(tables: Floats) -> tuple[Floats, Floats]:
    """The interval of earlier versions, for each table [..., S, N]: its mean and half width."""
    means = tables.mean(axis=-1)
    return means.mean(axis=-1), half_of_seeds(means)


def test_intervals_cover_the_accuracy_on_new_photos() -> None:
    covered, before = [], []
    for photos, accuracy in WORLDS:
        (hits,) = draw(photos, accuracy, 1)
        covered.append(share_covered(two_way(hits, SHARE_PSEUDO), accuracy))
        mean, half = seeds_only(hits)
        before.append(np.mean(abs(mean - accuracy) <= half))
    assert min(covered) >= 0.92
    assert min(before) < 0.65
    assert np.mean(before) < 0.80


def test_equal_modes_are_seldom_called_different() -> None:
    wrong, before = [], []
    for photos, accuracy in WORLDS:
        a, b = draw(photos, accuracy, 2)
        wrong.append(np.mean(two_way(a - b, DIFFERENCE_PSEUDO).p_value() < 0.05))
        mean, half = seeds_only(a - b)
        before.append(np.mean(abs(mean) > half))
    assert max(wrong) <= 0.07
    assert max(before) > 0.14


def test_intervals_cover_a_true_difference() -> None:
    covered = []
    for photos, accuracy in WORLDS:
        truth = np.array([[accuracy], [accuracy - 0.05]])
        hits = photos.hits(np.random.default_rng(0), STUDIES, truth)[:, :, 0]
        difference = two_way(hits[:, 0] - hits[:, 1], DIFFERENCE_PSEUDO)
        covered.append(share_covered(difference, 0.05))
    assert min(covered) >= 0.92


def log_losses(chance: np.random.Generator, shared: float, seeds: int, images: int) -> Floats:
    """Log losses of networks that are right on 90 %, and too sure of all; [studies, S, N]."""
    hard = np.sqrt(shared) * chance.standard_normal((STUDIES, 1, images))
    hard = hard + np.sqrt(1 - shared) * chance.standard_normal((STUDIES, seeds, images))
    losses: Floats = np.logaddexp(0, 4 * (hard - 1.2816))
    return losses


def test_intervals_cover_the_log_loss_on_new_photos() -> None:
    """With few images that cost much, less well than an accuracy: more than 0.90, not 0.92."""
    chance, covered, before = np.random.default_rng(0), [], []
    truth = float(np.mean([log_losses(chance, 0.5, 1, 1000).mean() for _ in range(4)]))
    for seeds, shared in itertools.product((3, 5), (0.5, 0.9)):
        losses = log_losses(chance, shared, seeds, 240)
        low, high = two_way(losses).positive_ends()
        covered.append(np.mean((low <= truth) & (truth <= high)))
        mean, half = seeds_only(losses)
        before.append(np.mean(abs(mean - truth) <= half))
    assert min(covered) >= 0.90
    assert min(before) < 0.65


@pytest.mark.parametrize(("photos", "modes", "ratios", "wrong_before"), [
    (Photos(3, 240, 0.8, own=0.05), 3, (0.1, 0.3, 0.8), 0.0),
    (Photos(3, 240, 0.7, own=0.1), 5, (0.01, 0.03, 0.1, 0.3, 0.8), 0.03),
    (Photos(3, 1000, 0.7, own=0.1), 5, (0.01, 0.03, 0.1, 0.3, 0.8), 0.1),
    (Photos(5, 1000, 0.7, own=0.1), 5, (0.01, 0.03, 0.1, 0.3, 0.8), 0.1),
], ids=["9", "50", "50 by many images", "50 by 5 seeds"])  # fmt: skip
def test_few_studies_have_any_wrong_verdict(
    photos: Photos, modes: int, ratios: tuple[float, ...], wrong_before: float
) -> None:
    """Of equal modes. One comparison alone may err in 1 of 20.

    By their own p-values, adjusted in the same way, many studies of many images would err.
    """
    chance, named = np.random.default_rng(0), MODES[:modes]
    truth = np.tile(np.linspace(0.7, 0.95, len(ratios)), (modes, 1))
    wrong, before, one = [], [], []
    for _ in range(60):
        (hits,) = photos.hits(chance, 1, truth)
        found = mode_differences(seen_in_study(hits, named, ratios))
        assert len(found) == len(ratios) * modes * (modes - 1) / 2
        wrong.append(any(d.verdict != "cannot tell" for d in found))
        own = [d.estimate.p or 0.0 for d in found]
        before.append(min(holm(own)) < 0.05)
        one.append(min(own) < 0.05)
    assert np.mean(wrong) <= 0.07
    assert np.mean(before) >= wrong_before
    assert np.mean(one) > np.mean(wrong)
