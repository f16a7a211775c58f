"""Temperature scaling: one number that mends a network which is too sure, or not sure enough.

The logits are divided by a temperature that minimises the log loss on validation (Guo et al., On
Calibration of Modern Neural Networks, ICML 2017, section 4.2). Classes do not change. So a score
after it tells how good the ranking of the classes is, without the confidence that one number mends.
"""

import math

import numpy as np
import torch

from tl_core.objectives.losses import log_losses

BOUNDS = (0.05, 20.0)
"""Least and highest temperature: at the ends, a few validation images say nothing more."""
BINS = 15
"""Equal intervals of confidence, as in the paper."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the least log loss, within `BOUNDS`.

    Args:
        logits: [N, 1] for two classes, else [N, K]; of validation images.
        labels: int64 [N].
    """
    from scipy.optimize import minimize_scalar  # It takes half a second.

    scores, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels)

    def loss(log_temperature: float) -> float:
        return log_losses(scores / math.exp(log_temperature), truth).mean().item()

    low, high = map(math.log, BOUNDS)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x)


def bins_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Number the bins of confidences from 0, int64 [N]; an edge belongs to the bin below it."""
    number = np.ceil(confidence * bins) - 1
    return np.asarray(number.clip(0, bins - 1), np.int64)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the mean distance of accuracy from confidence over `BINS` bins, weighted by images.

    Expected calibration error (Guo et al. 2017, equation 3), from 0 to 1. Few images make it look
    larger than it is, the more so the more bins they fill; so networks are compared by
    `study.intervals.linear.calibration_values` instead.

    Args:
        confidence: probability of the chosen class, [N].
        right: whether it is the true one, bool [N].
    """
    return float(np.abs(np.bincount(bins_of(confidence), right - confidence)).sum() / len(right))
