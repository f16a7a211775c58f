"""Temperature scaling: one number that mends a network which is too sure, or not sure enough.

The logits are divided by a temperature that minimises the log loss on validation (Guo et al., On
Calibration of Modern Neural Networks, ICML 2017, section 4.2). Classes do not change. So a score
after it tells how good the ranking of the classes is, without the confidence that one number mends.
"""

import math

import numpy as np
import torch

BOUNDS = (0.05, 20.0)
"""Least and highest temperature: at the ends, a few validation images say nothing more."""
BINS = 15
"""Equal intervals of confidence, as in the paper."""
_HALVINGS = 30
"""Of the logarithm's interval, to a billionth."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the least log loss, within `BOUNDS`.

    Args:
        logits: [N, 1] for two classes, else [N, K]; of validation images.
        labels: int64 [N].
    """
    scores, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    if scores.shape[1] == 1:
        scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
    own = scores.gather(1, truth[:, None])[:, 0]

    def falls(log_temperature: float) -> bool:
        """Whether a lower temperature lowers the loss, as it does wherever all images are right."""
        expected = ((scores / math.exp(log_temperature)).softmax(dim=1) * scores).sum(dim=1)
        return bool(expected.mean() <= own.mean())

    # The loss is convex in one over the temperature, so its slope has one change of sign. SciPy's
    # minimisers take half a second to import.
    low, high = map(math.log, BOUNDS)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if falls(middle) else (middle, high)
    return math.exp((low + high) / 2)


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
