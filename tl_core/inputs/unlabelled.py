"""Images without a class label, from which a step learns the auxiliary task alone.

A train ratio leaves out class labels, not images. So beside its batch of images with a class label,
a step may see as many others of the training part that have the auxiliary label. What an image
counts makes the auxiliary loss of a step an unbiased estimate of the mean over all images that
teach the task, with a class label or without.

Axes: S seeds, N images, E others in a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class Unlabelled:
    """Draws the others of each step, pass after pass, in an order that only the seed decides."""

    pools: Sequence[np.ndarray]
    """The images of each seed, not empty."""
    seeds: Sequence[int]
    batch_size: int
    mirror: int = 0
    """N, to mirror each image with probability one half; 0 not to."""

    @property
    def size(self) -> int:
        """E: as many as a batch has, or all."""
        return min(self.batch_size, *map(len, self.pools))

    def views(self, step: int) -> np.ndarray:
        """Views of a step, from 0, [S, E]."""
        places = np.arange(step * self.size, (step + 1) * self.size)
        each = zip(self.pools, self.seeds, strict=True)
        return np.stack([self._of_seed(pool, seed, places) for pool, seed in each])

    def _of_seed(self, pool: np.ndarray, seed: int, places: np.ndarray) -> np.ndarray:
        number, at = places // len(pool), places % len(pool)
        found = [
            _order(seed, len(pool), int(one), bool(self.mirror))[:, at[number == one]]
            for one in np.unique(number)
        ]
        rows, mirrored = np.concatenate(found, axis=1)
        views: np.ndarray = pool[rows] + self.mirror * mirrored
        return views


@lru_cache(maxsize=32)
def _order(seed: int, n: int, number: int, mirror: bool) -> np.ndarray:
    """The order of a pass over n images, and which are mirrored, [2, n]."""
    order = np.random.default_rng([seed, 5, number]).permutation(n)
    flips = np.random.default_rng([seed, 6, number]).integers(2, size=n) * mirror
    return np.stack([order, flips])


def aux_table(
    known: np.ndarray, trains: Sequence[np.ndarray], others: Sequence[np.ndarray]
) -> np.ndarray | None:
    """What each image counts in the auxiliary loss of each seed, float32 [S, N].

    The mean over a training subset, plus that over the seed's others, is the mean over all images
    that have the label.

    Args:
        known: which images have the auxiliary label, bool [N].
        trains: the images of each seed with a class label.
        others: those without one, which have the auxiliary label.

    Returns:
        None if all images of all seeds count alike.
    """
    if not any(map(len, others)) and all(known[train].all() for train in trains):
        return None
    table = np.zeros((len(trains), len(known)), np.float32)
    for row, train, more in zip(table, trains, others, strict=True):
        # Where no weight makes the task count, a subset may have none of its labels, and no others.
        n = max(1, int(known[train].sum()) + len(more))
        row[train] = known[train] * len(train) / n
        row[more] = len(more) / n
    return table


def shares(sizes: Sequence[int], others: int) -> tuple[np.ndarray, np.ndarray]:
    """What the images of some batches count in the loss of each task, float32 [n] each.

    A batch has so many images with a class label, then the others. The mean of a loss over all of
    them then is the mean over those with a class label; for the auxiliary task, the sum of the mean
    over those and the mean over the others.
    """
    of_class = [[(n + others) / n] * n + [0.0] * others for n in sizes]
    of_aux = [[(n + others) / n] * n + [(n + others) / others] * others for n in sizes]
    both = (np.concatenate(part).astype(np.float32) for part in (of_class, of_aux))
    first, second = both
    return first, second
