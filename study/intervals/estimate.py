"""A mean over seeds, with its interval on new photos and its interval on these test images.

And Wilson's interval of a share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist, fmean, stdev
from typing import Literal

import numpy as np
from scipy import special  # `scipy.stats` takes half a second to import.

from study.intervals.two_way import CONFIDENCE, Floats, TInterval


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % intervals."""

    mean: float
    low: float | None
    """Of the interval that counts: on new photos if the trials kept their outputs on the test set,
    else on these test images. None if there is no interval."""
    high: float | None
    n: int
    """Seeds. With one, an interval on new photos is about this one network."""
    seeds_low: float | None = None
    """Of the interval on these test images, which covers other seeds alone; None with one seed."""
    seeds_high: float | None = None
    images: int | None = None
    """Test images; None if `low` and `high` do not cover new photos."""
    groups: int | None = None
    """Groups of these images, if `low` and `high` cover photos of new groups."""
    one_group: bool = False
    """Whether all test images are of one group, from which nothing is known of others."""
    t: TInterval | None = field(default=None, compare=False, repr=False)
    """What `low` and `high` come from, before they are clipped to the possible values."""

    @property
    def tells(self) -> bool:
        """Whether there are seeds and groups enough to tell more than of these."""
        return self.n > 1 and not self.one_group

    @property
    def sign(self) -> Literal[-1, 0, 1]:
        """Sign of the whole interval; 0 if the interval contains zero or is missing.

        It is 0 with one seed or one group, too: nobody knows how much the next would change.
        """
        if not self.tells or self.low is None or self.high is None or self.low <= 0 <= self.high:
            return 0
        return 1 if self.low > 0 else -1

    @property
    def p(self) -> float | None:
        """Two-sided p of a mean of zero, from the interval that counts; None if nothing `tells`."""
        return float(self.t.p_value()) if self.t and self.tells else None

    @property
    def half_width(self) -> float | None:
        """The smallest observed difference that could have been shown; None with one seed or group.

        That is half the interval that counts, before it is clipped, times what pseudo-images take
        off the mean: (N + 2) / N for a difference of accuracies. A true difference of this size is
        shown in about half of studies.
        """
        if self.t is None or not self.tells:
            return None
        taken = (self.groups or self.images or math.inf) / 2
        center = float(self.t.center)
        pulled = self.mean / center if center else math.inf
        return float(self.t.half_width()) * min(max(pulled, 1.0), 1 + 1 / taken)

    def __neg__(self) -> "Estimate":
        """The same difference with its sides swapped."""
        low, high, seeds_low, seeds_high = (
            None if end is None else -end
            for end in (self.high, self.low, self.seeds_high, self.seeds_low)
        )
        t = None if self.t is None else -self.t
        return replace(
            self, mean=-self.mean, low=low, high=high, seeds_low=seeds_low, seeds_high=seeds_high,
            t=t,
        )  # fmt: skip


def estimate(
    values: Sequence[float], lowest: float = -math.inf, highest: float = math.inf
) -> Estimate:
    """Return the mean of independent values, one for each seed, and its t-interval.

    The interval is about these test images. It is clipped to the range from `lowest` to `highest`,
    such as 0 to 1 for an accuracy. This removes only impossible values, so the coverage stays the
    same. Equal values give a zero-width interval.

    Raises `statistics.StatisticsError` if there are no values.
    """
    mean, n = fmean(values), len(values)
    if n == 1:
        return Estimate(mean, None, None, n)
    error = stdev(values) / math.sqrt(n)
    t = TInterval(np.array(mean), np.array(error), np.array(n - 1))
    low, high = _clipped(t.ends(), mean, lowest, highest)
    return Estimate(mean, low, high, n, low, high, t=t)


def on_new_photos(
    seeds: Estimate,
    t: TInterval,
    images: int,
    lowest: float,
    highest: float,
    groups: int | None = None,
    logit: bool = False,
) -> Estimate:
    """Give an estimate that is about its test images the interval on new photos.

    Args:
        seeds: the mean and its interval over seeds.
        t: the mean's distribution over seeds and images; pseudo-images may have moved its centre.
        images: in the test set.
        lowest: possible value; the interval is clipped to them. It is on a log scale for a score
            that is never negative and has no upper bound.
        highest: likewise.
        groups: of these images, if it is on photos of new ones.
        logit: whether the interval is on a logit scale (`unit_ends`).
    """
    positive = lowest == 0 and highest == math.inf
    ends = unit_ends(t) if logit else t.positive_ends() if positive else t.ends()
    low, high = _clipped(ends, seeds.mean, lowest, highest)
    return replace(seeds, low=low, high=high, images=images, groups=groups, t=t)


def unit_ends(t: TInterval) -> tuple[Floats, Floats]:
    """Both ends of the interval of means between 0 and 1 on a logit scale, each [...].

    Near 0 and 1 means are skewed. The logit's standard error is that of the mean over m (1 - m)
    (delta method; for AUROC: Pepe, The Statistical Evaluation of Medical Tests, 2003, section
    5.2). A mean of 0 or 1 has no logit, and keeps its interval.
    """
    low, high = t.ends()
    scale = t.center * (1 - t.center)
    inside = scale > 0
    half = np.divide(t.half_width(), scale, out=np.zeros_like(scale), where=inside)
    logit = special.logit(np.where(inside, t.center, 0.5))
    return (
        np.where(inside, special.expit(logit - half), low),
        np.where(inside, special.expit(logit + half), high),
    )


def _clipped(
    ends: tuple[Floats, Floats], mean: float, lowest: float, highest: float
) -> tuple[float, float]:
    """Ends that are possible, and that hold the mean."""
    low, high = (float(end) for end in ends)
    return min(max(low, lowest), mean), max(min(high, highest), mean)


def wilson(share: float, n: float, level: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's interval of a share of `n`, neither of which need be whole.

    Source: Wilson, Journal of the American Statistical Association 22, 1927; Brown, Cai and
    DasGupta, Statistical Science 16, 2001.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    # It holds the share, also where rounding would leave a share of 0 or 1 outside.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
