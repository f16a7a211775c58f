"""Wilson's interval of a share."""

import math
from statistics import NormalDist

from study.intervals.two_way import CONFIDENCE

Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
"""Quantile of the normal distribution."""


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `n`, neither of which need be whole.

    Source: Wilson, Journal of the American Statistical Association 22, 1927; Brown, Cai and
    DasGupta, Statistical Science 16, 2001.
    """
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + (Z / (2 * n)) ** 2)
    # It holds the share, also where rounding would leave a share of 0 or 1 outside.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
