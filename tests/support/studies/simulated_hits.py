"""Right and wrong answers of many simulated studies at once, in a world whose truth is known.

A network is right on an image if the image is not too hard for it. How hard it is has four parts:
one that all networks share, one that all seeds of a mode share, one of the seed, and chance.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from study.intervals.two_way import Floats, TInterval

Chance = np.random.Generator


@dataclass(frozen=True)
class Photos:
    """The test set, and the shares of the variance of how hard an image is."""

    seeds: int
    images: int
    shared: float
    """All networks find the same images hard."""
    own: float = 0.0
    """All seeds of a mode do."""
    seed: float = 0.01
    """A seed is better or worse on all images; half of it is the same at all ratios."""
    alike: float = 0.0
    """All networks find the images of a group hard."""
    group_size: int = 1

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each image; None if each is its own."""
        return None if self.group_size == 1 else np.arange(self.images) // self.group_size

    def hits(self, chance: Chance, studies: int, accuracy: Floats) -> Floats:
        """Draw hits of M modes at R ratios, whose true accuracies are [M, R].

        Returns [studies, M, R, S, N], 1 for a right answer and 0 for a wrong one.
        """
        m, r = accuracy.shape
        b, s, n = studies, self.seeds, self.images
        hard = np.zeros((b, m, r, s, n), dtype=np.float32)
        if self.alike > 0:
            of_group = chance.standard_normal((b, 1, 1, 1, n // self.group_size), dtype=np.float32)
            hard += np.sqrt(self.alike) * np.repeat(of_group, self.group_size, axis=-1)
        for variance, shape in (
            (self.shared, (b, 1, 1, 1, n)),
            (self.own, (b, m, 1, 1, n)),
            (self.seed / 2, (b, m, 1, s, 1)),
            (self.seed / 2, (b, m, r, s, 1)),
            (1 - self.shared - self.alike - self.own - self.seed, (b, m, r, s, n)),
        ):
            if variance > 0:
                hard += np.sqrt(variance) * chance.standard_normal(shape, dtype=np.float32)
        right: Floats = (hard < stats.norm.ppf(accuracy)[:, :, None, None]).astype(float)
        return right


def half_of_seeds(means: Floats) -> Floats:
    """Half the interval over seeds alone, [...], from the mean of each, [..., S]."""
    n = means.shape[-1]
    half: Floats = stats.t.ppf(0.975, n - 1) * means.std(axis=-1, ddof=1) / np.sqrt(n)
    return half


def share_covered(interval: TInterval, truth: float) -> float:
    """Share of the intervals that hold the truth."""
    low, high = interval.ends()
    return float(np.mean((low <= truth) & (truth <= high)))
