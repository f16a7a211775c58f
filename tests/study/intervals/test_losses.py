import math

import numpy as np
import pytest
from scipy import optimize, stats

from study.intervals.losses import mistake_pseudo
from study.intervals.two_way import Floats, two_way


def test_both_modes_are_wrong_as_sure_as_they_usually_are() -> None:
    # A probability of 0.9 leaves 0.1 for the other class; a wrong answer has its own loss.
    sure, unsure = -np.log([[0.9, 0.1], [0.9, 0.9]]), -np.log([[0.6, 0.6], [0.6, 0.4]])
    assert mistake_pseudo(sure, unsure) == pytest.approx(np.array([[math.log(4) / 2]]))
    assert mistake_pseudo(unsure, sure) == pytest.approx(np.array([[-math.log(4) / 2]]))
    assert mistake_pseudo(np.stack([sure, unsure]), sure).shape == (2, 1, 1)


def test_a_network_that_is_certain_has_a_finite_loss() -> None:
    lost = mistake_pseudo(np.zeros((2, 3)), np.full((2, 3), math.log(2)))
    assert lost == pytest.approx(np.array([[(52 * math.log(2) - math.log(2)) / 2]]))


def draw(
    accuracies: tuple[float, float], scales: tuple[float, float], images: int
) -> tuple[Floats, Floats]:
    """Log losses of 3 networks of two modes in 400 studies, which find the same images hard.

    A logit is normal around a mode's mean, times how sure the mode is.
    """
    chance, shape = np.random.default_rng(0), (400, 3, images)
    hard = math.sqrt(0.8) * chance.standard_normal((400, 1, images))

    def of(accuracy: float, scale: float) -> Floats:
        own = math.sqrt(0.05) * chance.standard_normal((400, 1, images))
        rest = math.sqrt(0.15) * chance.standard_normal(shape)
        losses: Floats = np.logaddexp(0, -scale * (stats.norm.ppf(accuracy) + hard + own + rest))
        return losses

    first, second = map(of, accuracies, scales)
    return first, second


def too_unsure(accuracy: float, sure: float) -> float:
    """The scale of less sure networks that have the same true log loss."""
    points, weights = np.polynomial.hermite_e.hermegauss(101)
    logits = stats.norm.ppf(accuracy) + points

    def loss(scale: float) -> float:
        return float(np.logaddexp(0, -scale * logits) @ weights / weights.sum())

    middle = 2 * stats.norm.ppf(accuracy)
    return float(optimize.brentq(lambda scale: loss(scale) - loss(sure), 1e-3, middle))


@pytest.mark.parametrize("images", [24, 60, 240])
@pytest.mark.parametrize("accuracy", [0.8, 0.9, 0.95, 0.98])
@pytest.mark.parametrize("ratio", [1.5, 2.0])
def test_modes_of_equal_log_loss_are_seldom_called_different(
    images: int, accuracy: float, ratio: float
) -> None:
    """One is too sure by the ratio, and seems better where few images have shown its mistakes."""
    sure = ratio * 2 * stats.norm.ppf(accuracy)
    unsure = too_unsure(accuracy, sure)
    a, b = draw((accuracy, accuracy), (unsure, sure), images)
    wrong = two_way(a - b, mistake_pseudo(a, b)).p_value() < 0.05
    assert np.mean(wrong) <= 0.055


def test_without_the_mistake_they_often_are() -> None:
    sure = 4 * stats.norm.ppf(0.98)
    a, b = draw((0.98, 0.98), (too_unsure(0.98, sure), sure), 60)
    t = two_way(a - b)
    assert np.mean((t.p_value() < 0.05) & (t.center > 0)) > 0.12


def test_a_better_mode_is_still_found() -> None:
    sure, less = (2 * stats.norm.ppf(accuracy) for accuracy in (0.98, 0.95))
    a, b = draw((0.98, 0.95), (sure, less), 240)
    t = two_way(a - b, mistake_pseudo(a, b))
    assert np.mean((t.p_value() < 0.05) & (t.center < 0)) > 0.80
