"""R2 and the squared calibration error as values of images, so that they have two-way intervals.

Neither is a mean over images. To first order each is one, of linear values: the score, plus how
much it changes with the weight of each image (the infinitesimal jackknife: Jaeckel, Bell
Laboratories memorandum 72-1215-11, 1972; for a ratio, the delta method). A network's values are a
row of a two-way table (`study.intervals.two_way`), and sums of them over groups are one of groups
(`study.intervals.grouped`).
"""

import numpy as np

from study.intervals.two_way import Floats


def r2_values(predicted: Floats, truth: Floats) -> Floats:
    """Return values whose mean over the images is R2 = 1 - SSE / SST, [..., N].

    With e an image's error, d its distance from the mean of the truth, and V the mean of d^2, its
    value is R2 + ((1 - R2) d^2 - e^2) / V: more images such as this one raise R2 if it is predicted
    better than others that are as far from the mean.

    Args:
        predicted: [..., N].
        truth: [..., N], not all the same.
    """
    squared = (predicted - truth) ** 2
    spread = (truth - truth.mean(axis=-1, keepdims=True)) ** 2
    return _one_minus_ratio(squared, spread)


def skill_values(right: Floats, truth: np.ndarray) -> Floats:
    """Return values whose mean is 1 - (wrong answers / those of the most frequent class), [..., N].

    As for R2, with wrong answers in place of squares.

    Args:
        right: 1 where an answer is right, else 0, [..., N].
        truth: classes, int64 [N], not all the same.
    """
    constant = truth != np.bincount(truth).argmax()
    return _one_minus_ratio(1 - right, constant.astype(float))


def _one_minus_ratio(lost: Floats, of_constant: Floats) -> Floats:
    """Return linear values of 1 - mean(lost) / mean(of_constant)."""
    most = of_constant.mean(axis=-1, keepdims=True)
    share = lost.mean(axis=-1, keepdims=True) / most
    values: Floats = 1 - share + (share * of_constant - lost) / most
    return values


def calibration_values(gaps: Floats, bins: np.ndarray, groups: np.ndarray | None = None) -> Floats:
    """Return values whose mean over the images is the squared calibration error, [N].

    The squared calibration error is the mean over the images of the squared gap of their bin, where
    the gap is accuracy minus confidence. The gaps that are seen have the noise of the images in
    them, whose square is above zero even if a network is calibrated. So each image's gap is
    multiplied by the mean gap of the other images of its bin: their errors are independent, and the
    product has the right mean (debiased estimator: Kumar, Liang and Ma, Verified Uncertainty
    Calibration, NeurIPS 2019, section 5; Broecker, Climate Dynamics 39, 2012). It may be below
    zero. A bin with one image has no others and counts as calibrated.

    If a network is calibrated, the score has no first order; its variance is then overestimated
    (Efron and Stein, Annals of Statistics 9, 1981), so an interval is too wide, not too narrow.

    Args:
        gaps: 1 where a network is right, else 0, minus its confidence, [N].
        bins: of confidence, int64 [N].
        groups: int64 [N]: the images of other groups are "others"; None if each is its own.
    """
    n = len(gaps)
    _, bins = np.unique(bins, return_inverse=True)
    own = np.arange(n) if groups is None else groups
    _, shared = np.unique(np.stack([bins, own]), axis=1, return_inverse=True)
    sums, counts = np.bincount(bins, gaps), np.bincount(bins)
    others = sums[bins] - np.bincount(shared, gaps)[shared]
    left = counts[bins] - np.bincount(shared)[shared]
    score = (gaps * np.divide(others, left, out=np.zeros(n), where=left > 0)).mean()
    gap = (sums / counts)[bins]
    changes = (2 * gaps - gap) * gap
    values: Floats = score + changes - changes.mean()
    return values
