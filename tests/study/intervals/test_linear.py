"""R2 and the squared calibration error: values by hand; in simulation, that intervals hold."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from study.intervals.grouped import by_groups
from study.intervals.linear import calibration_values, r2_values
from study.intervals.two_way import Floats, two_way
from tests.support.studies.simulated_hits import half_of_seeds, share_covered

STUDIES = 150


def test_r2_by_hand() -> None:
    # Errors 0.5, 0, 0 of a truth whose distances from its mean 2 are 1, 0, 1: V = 2/3 and
    # R2 = 1 - (0.25 / 3) / (2/3) = 7/8. Values: 7/8 + (d^2 / 8 - e^2) / V.
    found = r2_values(np.array([1.5, 2, 3]), np.array([1.0, 2, 3]))
    assert found.tolist() == pytest.approx([7 / 8 - 3 / 16, 7 / 8, 7 / 8 + 3 / 16])
    assert found.mean() == pytest.approx(7 / 8)
    assert r2_values(np.full(3, 2.0), np.array([1.0, 2, 3])).mean() == pytest.approx(0)


def test_squared_calibration_error_by_hand() -> None:
    # One bin of gaps 0.5, -0.25, 0.25, another of one image. Products with the mean of the others:
    # 0.5 * 0, -0.25 * 0.375 and 0.25 * 0.125 are -0.0625 in sum, over four images.
    gaps, bins = np.array([0.5, -0.25, 0.25, 0.75]), np.array([9, 9, 9, 2])
    score = -0.0625 / 4
    found = calibration_values(gaps, bins)
    assert found.mean() == pytest.approx(score)
    # 2 g m - m^2 of the bins' means 1/6 and 3/4, around its mean: 7/36 - 1/9, ...
    changes = np.array([1 / 6 - 1 / 36, -1 / 12 - 1 / 36, 1 / 12 - 1 / 36, 9 / 16])
    assert found == pytest.approx(score + changes - changes.mean())


def test_images_of_the_same_group_are_no_others() -> None:
    gaps, bins, groups = np.array([0.5, 0.5, -0.25, 0.25]), np.zeros(4, int), np.array([0, 0, 1, 2])
    # The others of the pair have mean 0; of the third 1.25 / 3; of the last 0.75 / 3.
    score = (-0.25 * 1.25 / 3 + 0.25 * 0.75 / 3) / 4
    assert calibration_values(gaps, bins, groups).mean() == pytest.approx(score)
    assert calibration_values(gaps, bins, np.zeros(4, int)).mean() == 0, "no group has others"


@settings(max_examples=20)
@given(st.integers(2, 40), st.integers(0, 999))
def test_linear_values_are_how_scores_change_with_the_weight_of_an_image(n: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    truth, predicted = chance.random((2, n))
    found = r2_values(predicted, truth)
    weights = np.full(n, 1 / n)
    weights[0] += 1e-6
    weights /= weights.sum()
    squared = weights @ (predicted - truth) ** 2
    more = 1 - squared / (weights @ (truth - weights @ truth) ** 2)
    assert (more - found.mean()) / 1e-6 == pytest.approx(
        found[0] - found.mean(), rel=0.01, abs=0.01
    )


def seeds_only(scores: Floats, truth: float) -> float:
    """How often the t-interval over seeds covers the truth; scores are [studies, S]."""
    return float(np.mean(abs(scores.mean(axis=1) - truth) <= half_of_seeds(scores)))


def in_groups(chance: np.random.Generator, shape: tuple[int, ...], size: int) -> Floats:
    """Standard normal values, of which those in groups of that size are alike by 0.8."""
    of_group = chance.standard_normal((*shape[:-1], shape[-1] // size))
    own = chance.standard_normal(shape)
    alike: Floats = np.sqrt(0.8) * np.repeat(of_group, size, axis=-1) + np.sqrt(0.2) * own
    return alike


@pytest.mark.parametrize("size", [1, 5])
def test_intervals_cover_r2_on_new_photos(size: int) -> None:
    """Errors are a seed's shift, what all networks find hard in an image, and chance."""
    chance, groups = np.random.default_rng(0), np.arange(240) // size
    covered, before = [], []
    for seeds, shared in itertools.product((3, 5), (0.3, 0.9)):
        light = in_groups(chance, (800, 1, 240), size)
        image = in_groups(chance, (800, 1, 240), size)
        own = chance.standard_normal((800, seeds, 240))
        shift = 0.2 * chance.standard_normal((800, seeds, 1))
        error = 0.6 * (np.sqrt(shared) * image + np.sqrt(1 - shared) * own) + shift
        truth = 1 - 0.36 - 0.04
        table = r2_values(light + error, light)
        covered.append(
            share_covered(two_way(by_groups(table, groups if size > 1 else None)), truth)
        )
        before.append(seeds_only(table.mean(axis=-1), truth))
    assert min(covered) >= 0.91
    assert min(before) < 0.75


def gaps_of(
    chance: np.random.Generator, shape: tuple[int, int, int], factor: float, size: int = 1
) -> tuple[Floats, np.ndarray, Floats]:
    """Hits minus confidence, bins and true gaps of networks whose logits are `factor` too large.

    A network sees the logit of an image with noise; its own is the best guess from what it sees.
    """
    studies, _, n = shape
    logit = 2.5 * in_groups(chance, (studies, 1, n), size)
    label = chance.random((studies, 1, n)) < expit(logit)
    seen = logit + 1.25 * chance.standard_normal(shape)
    points, weights = np.polynomial.hermite_e.hermegauss(11)
    at = 0.8 * seen[..., None] + np.sqrt(0.2) * 2.5 * points  # The logit, given what is seen.
    best = expit(at) @ (weights / weights.sum())
    said = expit(factor * np.log(best / (1 - best)))
    confidence, hit = np.maximum(said, 1 - said), (said > 0.5) == label
    bins = np.ceil(15 * confidence).astype(int)
    return hit - confidence, bins, np.maximum(best, 1 - best) - confidence


@pytest.mark.parametrize("factor", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("size", [1, 4])
def test_intervals_cover_the_squared_calibration_error(factor: float, size: int) -> None:
    """The error of equation 3 of Guo et al. is far above the truth of a calibrated network."""
    chance = np.random.default_rng(0)
    _, bins, true = (part.ravel() for part in gaps_of(chance, (1, 1, 50_000), factor))
    sums, counts = np.bincount(bins, true), np.bincount(bins)
    truth = float((sums**2 / np.maximum(counts, 1)).sum() / counts.sum())
    gaps, bins, _ = gaps_of(chance, (STUDIES, 3, 240), factor, size)
    groups = None if size == 1 else np.arange(240) // size
    table = np.array([
        [calibration_values(g, b, groups) for g, b in zip(*study, strict=True)]
        for study in zip(gaps, bins, strict=True)
    ])  # fmt: skip
    t = two_way(by_groups(table, groups))
    assert share_covered(t, truth) >= 0.92
    assert abs(t.center.mean() - truth) < 4 * t.center.std() / np.sqrt(STUDIES), "no bias"
    plain = np.array([
        np.abs(np.bincount(b, g)).sum() / 240
        for g, b in zip(gaps.reshape(-1, 240), bins.reshape(-1, 240), strict=True)
    ])  # fmt: skip
    if factor == 1:
        assert truth < 1e-5
        assert plain.mean() > 0.04
    else:
        assert seeds_only(table.mean(axis=-1), truth) < share_covered(t, truth)
