"""Stratified splits: test and validation are fixed, training subsets are nested.

Test and validation hold 10 % of every class each and depend only on `split_seed`. The rest is the
pool: `seed` orders each class of it, and a training subset takes the first `train_ratio * n_class`
images of each. So within a seed the subset at 0.1 is part of the one at 0.2, and all modes see the
same images.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tl_core.errors import InputError, truncate_list
from tl_core.text import pluralize

HELD_OUT = 0.1
"""Share of each class in the test set, and again in the validation set."""


@dataclass(frozen=True)
class Split:
    """Indices into an ImageSet, each int64 and sorted; no index is in two of them."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    def hashes(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the content hash of each part: the ids of its images, in any order."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: _hash_ids(ids[i] for i in part) for name, part in parts.items()}


def make_split(labels: np.ndarray, train_ratio: float, split_seed: int = 0, seed: int = 0) -> Split:
    """Split N images.

    Args:
        labels: int64 [N], every class from 0 to K - 1 at least once.
        train_ratio: training images as a share of all N, 0 < r <= 0.8.
        split_seed: draws test and validation.
        seed: draws the order in which images of the pool become training images.

    Raises:
        InputError: a class would be missing from one of the three parts; says how many images
            are missing.
    """
    if faults := split_faults(labels, train_ratio):
        raise InputError(faults)
    held = np.random.default_rng([split_seed, 0])
    order = np.random.default_rng([seed, 1])
    train, val, test = [], [], []
    for label in np.unique(labels):
        members = held.permutation(np.flatnonzero(labels == label))
        n_held = _n_held(len(members))
        test.append(members[:n_held])
        val.append(members[n_held : 2 * n_held])
        pool = order.permutation(np.sort(members[2 * n_held :]))
        train.append(pool[: _n_train(len(members), train_ratio)])
    return Split(*(np.sort(np.concatenate(part)) for part in (train, val, test)))


def split_faults(
    labels: np.ndarray, train_ratio: float, classes: Sequence[str] | None = None
) -> list[str]:
    """Say for each class that is too small how many images are missing; [] if none is."""
    faults = []
    for label, n in zip(*np.unique(labels, return_counts=True), strict=True):
        missing = smallest_class(train_ratio) - int(n)
        if missing > 0:
            name = classes[label] if classes else int(label)
            faults.append(
                f"class {name!r} has {pluralize(int(n), 'image')}; train_ratio {train_ratio:g} "
                f"needs {missing} more to have one in training, validation and test each"
            )
    return [*truncate_list(faults)]


def smallest_class(train_ratio: float) -> int:
    """Return the fewest images with which a class is in every part at this ratio."""
    n = 3
    while _n_train(n, train_ratio) < 1:
        n += 1
    return n


def _n_held(n: int) -> int:
    return max(1, _round(HELD_OUT * n))


def _n_train(n: int, train_ratio: float) -> int:
    # Rounded for each class, so that it grows with the ratio and subsets nest.
    return min(_round(train_ratio * n), n - 2 * _n_held(n))


def _round(x: float) -> int:
    """Round half up; Python's round goes to the even neighbour, so 0.5 images would be none."""
    return int(x + 0.5 + 1e-9)


def _hash_ids(ids: Iterable[str]) -> str:
    # A file's name need not be valid UTF-8; Python holds other bytes as surrogates.
    joined = "\n".join(sorted(ids)).encode(errors="surrogateescape")
    return hashlib.sha256(joined).hexdigest()[:16]
