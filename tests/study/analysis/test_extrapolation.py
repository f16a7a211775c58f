from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

from study.analysis.estimates import Confirmed
from study.analysis.extrapolation import extrapolate
from tests.support.studies.image_tables import seen
from tests.support.studies.simulated_hits import Photos
from tl_core.config import Mode

RATIOS = (0.01, 0.04, 0.16, 0.64)
ON_CURVE = (88, 48, 28, 18)
"""Errors of 400 images: 0.02 + 0.02 / sqrt(ratio)."""


RATIOS_OF_STUDIES = (0.01, 0.03, 0.1, 0.3, 0.8)
SMALL, MEDIUM, LARGE, PATIENTS = (
    Photos(3, 60, 0.8, 0.05),
    Photos(3, 240, 0.8, 0.05),
    Photos(5, 240, 0.5, 0.05),
    Photos(5, 240, 0.3, 0.05, alike=0.4, group_size=5),
)


def curve(
    errors: tuple[int, ...], ratios: tuple[float, ...] = RATIOS, seeds: int = 3, images: int = 400,
    mode: Mode = "freeze",
) -> list[Confirmed]:  # fmt: skip
    """A mode whose seeds have so many errors at each ratio, most of them on the same images."""
    trials = []
    for ratio, wrong in zip(ratios, errors, strict=True):
        hits = np.ones((seeds, images))
        for seed, row in enumerate(hits):
            row[seed : seed + wrong] = 0
        trials += seen(mode, ratio, hits)
    return trials


def test_expected_gain_by_hand() -> None:
    found = extrapolate(curve(ON_CURVE), "freeze")
    assert found is not None
    assert (found.mode, found.train_ratio) == ("freeze", 0.64)
    # b / sqrt(0.64) = 0.025, which twice the labels divide by sqrt 2, and four times by 2.
    gains = {times: e.mean for times, e in found.gains.items()}
    assert gains == pytest.approx({2: 0.025 * (1 - 0.5**0.5), 4: 0.0125})
    assert found.levels[4].mean == pytest.approx(1 - 0.02 - 0.0125)
    assert not found.flat
    for e in (*found.gains.values(), *found.levels.values()):
        assert (e.n, e.images) == (3, 400)
        assert e.low is not None
        assert e.high is not None
        assert e.low < e.mean < e.high <= 1


def test_labels_count_as_many_as_there_are() -> None:
    """Whole groups are more than a small ratio asks for."""
    plain = extrapolate(curve(ON_CURVE), "freeze")
    asked = (0.005, 0.03, 0.16, 0.64)
    there = dict(zip(asked, (10.0, 40.0, 160.0, 640.0), strict=True))
    assert extrapolate(curve(ON_CURVE, asked), "freeze", there.__getitem__) == plain
    nominal = extrapolate(curve(ON_CURVE, asked), "freeze")
    assert plain is not None
    assert nominal is not None
    assert nominal.gains[2].mean < 0.95 * plain.gains[2].mean


def test_a_flat_curve_is_called_flat() -> None:
    found = extrapolate(curve((20, 20, 20, 20)), "freeze")
    assert found is not None
    gain = found.gains[4]
    assert gain.mean == pytest.approx(0)
    assert found.flat
    assert (gain.low or 0) < -0.001 < 0.001 < (gain.high or 0), "other photos may differ"


def test_no_gain_is_shown_where_the_last_step_shows_none() -> None:
    """The start is as steep, and decides the fit."""
    found = extrapolate(curve((88, 48, 28, 25)), "freeze")
    assert found is not None
    assert found.gains[2].mean > 0.005, "by the curve"
    for times in found.gains:
        assert found.gains[times].low == 0
        # With as many errors as now, 25 of 400, of which the upper limit is about 9 %.
        assert 0.90 < (found.levels[times].low or 0) < 0.93
    assert found.flat


def test_few_studies_tell_a_gain_that_is_none() -> None:
    """Of a mode that has learned all it can with 30 % of the images."""
    truth, fitted, told = np.array([[0.80, 0.89, 0.945, 0.97, 0.97]]), 0, 0
    for (hits,) in MEDIUM.hits(np.random.default_rng(0), 20, truth):
        cells = zip(RATIOS_OF_STUDIES, hits, strict=True)
        trials = [c for r, x in cells for c in seen("freeze", r, x, ranked=False)]
        if found := extrapolate(trials, "freeze"):
            low = found.gains[2].low
            assert low is not None
            fitted, told = fitted + 1, told + (low > 0)
    assert fitted > 10
    assert told == 0


def test_gains_are_not_above_the_error_that_is_left() -> None:
    """Errors are 0.02 / sqrt(ratio) - 0.01, so the curve falls below 0."""
    found = extrapolate(curve((76, 36, 16, 6)), "freeze")
    assert found is not None
    for times, e in found.gains.items():
        assert e.mean == pytest.approx(0.015 * (1 - times**-0.5)), "of an error of 1.5 %"
        assert found.levels[times].mean == pytest.approx(1 - 0.015 * times**-0.5)
        # Wrong are 8 of 404 with the pseudo-images: at most 4 %.
        assert e.low is not None
        assert e.high is not None
        assert e.low <= e.mean <= e.high < 0.04 * (1 - 1 / times)


@pytest.mark.parametrize("trials", [
    curve(ON_CURVE[1:], RATIOS[1:]), curve(ON_CURVE, seeds=1), [], curve(ON_CURVE, mode="scratch"),
    curve((200, 200, 30, 18)), curve((*ON_CURVE, 200), (*RATIOS, 0.8)),
    curve((100, 20, 20, 20)), curve((18, 28, 48, 88)),
    [replace(c, images=None if c.train_ratio == 0.01 else c.images) for c in curve(ON_CURVE)],
    [replace(c, seed=c.seed + (3 if c.train_ratio == 0.01 else 0)) for c in curve(ON_CURVE)],
], ids=["three cells", "one seed", "nothing", "another mode", "two cells at chance",
        "the most labels at chance", "not the curve", "rising", "a cell without outputs",
        "no common seed"])  # fmt: skip
def test_where_nothing_is_extrapolated(trials: list[Confirmed]) -> None:
    assert extrapolate(trials, "freeze") is None


def test_cells_at_chance_do_not_count() -> None:
    """A mode that has not begun to learn is not on the curve yet."""
    alone = extrapolate(curve(ON_CURVE), "freeze")
    found = extrapolate(curve((200, *ON_CURVE), (0.001, *RATIOS)), "freeze")
    assert found == alone


def test_groups_of_images_that_are_not_alike_change_little() -> None:
    """A pseudo-image then weighs as much as an image, not as a group of five."""
    chance = np.random.default_rng(0)
    mixed = chance.permutation(400)
    alone, grouped = (
        extrapolate(
            [
                replace(c, images=replace(c.images, groups=groups))
                for c in curve(ON_CURVE)
                if c.images
            ],
            "freeze",
        )
        for groups in (None, mixed // 5)
    )
    assert alone is not None
    assert grouped is not None
    for times in alone.gains:
        for one, other in ((alone.gains, grouped.gains), (alone.levels, grouped.levels)):
            assert (other[times].low, other[times].high) == pytest.approx(
                (one[times].low, one[times].high), abs=0.01
            )


def coverage(gamma: float, least: float, photos: Photos) -> tuple[float, float]:
    """How often the accuracy at twice the labels, and the gain, are in their intervals.

    Errors fall like `least` + b n^-gamma to 0.05; at the smallest ratio they may be at chance.
    """
    b = (0.05 - least) * 0.8**gamma
    truth = np.minimum(least + b * np.array(RATIOS_OF_STUDIES) ** -gamma, 0.5)
    at_twice = least + b * 1.6**-gamma
    inside = []
    for (hits,) in photos.hits(np.random.default_rng(0), 60, (1 - truth)[None]):
        cells = zip(RATIOS_OF_STUDIES, hits, strict=True)
        found = extrapolate(
            [c for r, x in cells for c in seen("freeze", r, x, photos.groups)], "freeze"
        )
        if found:
            e, gain = found.levels[2], found.gains[2]
            inside.append((
                (e.low or 0) <= 1 - at_twice <= (e.high or 0),
                (gain.low or 0) <= 0.05 - at_twice <= (gain.high or 0),
            ))  # fmt: skip
    assert len(inside) > 10
    one, other = np.mean(inside, axis=0)
    return float(one), float(other)


@pytest.mark.integration
@pytest.mark.parametrize("gamma", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("least", [0.025, 0.045])
def test_known_truth(gamma: float, least: float) -> None:
    found = [coverage(gamma, least, photos) for photos in (SMALL, MEDIUM, LARGE, PATIENTS)]
    assert np.min(found) >= 0.85


@pytest.mark.integration
@pytest.mark.parametrize("images", [40, 240])
def test_no_gain_is_impossible_in_studies_whose_curve_ends_near_1(images: int) -> None:
    truth = np.array([[0.7, 0.82, 0.91, 0.96, 0.985]])
    photos, told = Photos(5, images, 0.7, 0.1), 0
    for (hits,) in photos.hits(np.random.default_rng(2), 60, truth):
        cells = zip(RATIOS_OF_STUDIES, hits, strict=True)
        found = extrapolate([c for r, x in cells for c in seen("freeze", r, x)], "freeze")
        if found:
            told += 1
            for e in found.gains.values():
                assert hits[-1].mean() + e.mean <= 1 + 1e-9
    assert told > 40


@pytest.mark.integration
def test_one_exponent_alone_would_not_cover_the_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: an interval that takes the exponent 0.5 for the truth, and does not reach 0."""
    monkeypatch.setattr("study.analysis.extrapolation.GAMMAS", (0.5,))
    shown = Mock(return_value=Mock(verdict="better"))
    monkeypatch.setattr("study.analysis.extrapolation.difference", shown)
    for gamma in (0.3, 0.8):
        accuracy, gain = coverage(gamma, 0.025, MEDIUM)
        assert gain < 0.5 < accuracy
