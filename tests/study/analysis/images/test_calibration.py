"""The temperature that validation asks for, and what is left of the calibration error."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from study.analysis.images.calibration import BOUNDS, calibration_error, fit_temperature
from tl_core.models.heads import probabilities

RNG = np.random.default_rng(0)


def drawn(n: int, n_logits: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn by their probabilities: the right temperature is 1."""
    logits = RNG.normal(size=(n, n_logits)) * 2
    whole = np.concatenate([np.zeros((n, 1)), logits], 1) if n_logits == 1 else logits
    p = np.exp(whole) / np.exp(whole).sum(axis=1, keepdims=True)
    return logits, (p.cumsum(axis=1) < RNG.random((n, 1))).sum(axis=1)


@pytest.mark.parametrize("n_logits", [1, 4])
@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_the_temperature_of_drawn_labels_is_found(n_logits: int, factor: float) -> None:
    logits, labels = drawn(20_000, n_logits)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.05)
    assert error(logits, labels) < 0.02
    if factor == 3:
        assert error(factor * logits, labels) > 0.1


def error(logits: np.ndarray, labels: np.ndarray) -> float:
    probability = probabilities(torch.from_numpy(logits))
    confidence, chosen = (part.numpy() for part in probability.max(dim=1))
    return calibration_error(confidence, chosen == labels)


def test_a_temperature_by_hand() -> None:
    # Three of four right at the same confidence: p must be 3/4, so logit / T = log 3.
    logits, labels = np.full((4, 1), 2 * math.log(3)), np.array([1, 1, 1, 0])
    assert fit_temperature(logits, labels) == pytest.approx(2, rel=1e-4)
    # Confidence 0.9, accuracy 3/4.
    assert error(logits, labels) == pytest.approx(0.15)
    assert error(logits / 2, labels) == pytest.approx(0, abs=1e-12)


def test_what_is_always_right_gets_the_least_temperature() -> None:
    logits, labels = np.array([[3.0], [-3.0]]), np.array([1, 0])
    assert fit_temperature(logits, labels) == pytest.approx(BOUNDS[0], rel=0.01)
    assert fit_temperature(-logits, labels) == pytest.approx(BOUNDS[1], rel=0.01)


def test_the_least_temperature_also_where_every_probability_is_rounded_to_one() -> None:
    logits = np.array([[3000.0, 0, 0], [0, 0, 2000.0]])
    assert fit_temperature(logits, np.array([0, 2])) == pytest.approx(BOUNDS[0], rel=1e-6)


@pytest.mark.parametrize("n_logits", [1, 4])
def test_the_temperature_is_where_the_loss_has_no_slope(n_logits: int) -> None:
    logits, labels = drawn(40, n_logits)
    scores = np.concatenate([np.zeros((40, 1)), logits], 1) if n_logits == 1 else logits
    scaled = scores / fit_temperature(logits, labels)
    p = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
    slopes = (p * scores).sum(axis=1) - scores[np.arange(40), labels]
    assert slopes.mean() == pytest.approx(0, abs=1e-7)


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
def test_scaling_by_it_never_raises_the_loss_on_the_same_images(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = factor * rng.normal(size=(30, 3)), rng.integers(3, size=30)

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        picked = scaled[np.arange(30), labels]
        return float((np.log(np.exp(scaled).sum(axis=1)) - picked).mean())

    assert loss(fit_temperature(logits, labels)) <= loss(1.0) + 1e-9
