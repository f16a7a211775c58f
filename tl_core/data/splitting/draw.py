"""How images are drawn: held-out parts and nested training subsets, by whole groups.

If every image is on its own, each class is drawn alone, to the image. Groups are drawn whole, so
shares are met as well as the groups allow. A group of several classes counts for the one that is in
the fewest groups, its stratum: that class is the hardest to share out. All strata are taken from
at the same rate (systematic sampling: Cochran, Sampling Techniques, 1977, chapter 8).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tl_core.data.splitting.rules import HELD_OUT

DRAWS, _FEWEST, _WORK = 100, 10, 1_000_000
"""Draws of the held-out parts of groups, of which the most balanced is taken: fewer if draws x
images would be more than `_WORK`, some seconds."""
_NEAR, _IMAGES = 0.02, 2
"""A draw is balanced if each class is as near to its share as this, or as so many images."""


class Pairs(NamedTuple):
    """Each group with each class that it has, by group."""

    group: np.ndarray
    """int64 [P]."""
    label: np.ndarray
    """int64 [P]."""


@dataclass(frozen=True, eq=False)
class Groups:
    """N images of K classes in G groups, each of which counts for one class, its stratum."""

    labels: np.ndarray
    """int64 [N]."""
    of: np.ndarray
    """int64 [N], the group of each image, from 0 in the order of their first images."""
    sizes: np.ndarray
    """int64 [G], images of each."""
    strata: np.ndarray
    """int64 [G], the class that each counts for."""
    pairs: Pairs

    @property
    def n_classes(self) -> int:
        """K; a class below it may have no image."""
        return int(self.labels.max(initial=-1)) + 1

    @property
    def single(self) -> bool:
        """Whether every image is on its own."""
        return len(self.sizes) == len(self.labels)

    def members(self, groups: np.ndarray) -> np.ndarray:
        """The images of some groups, sorted."""
        if self.single:
            return np.sort(groups)
        chosen = np.zeros(len(self.sizes), bool)
        chosen[groups] = True
        return np.flatnonzero(chosen[self.of])

    def counts(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """How many images of each class some parts have, each an array of groups; [parts, K]."""
        part_of = np.full(len(self.sizes), len(parts))
        for i, part in enumerate(parts):
            part_of[part] = i
        k = self.n_classes
        cells = part_of[self.of] * k + self.labels
        return np.bincount(cells, minlength=(len(parts) + 1) * k).reshape(-1, k)[:-1]


def group_images(labels: np.ndarray, groups: np.ndarray | None) -> Groups:
    """Return the groups of images; without `groups` each image is its own.

    The last results are kept, as all splits of a data set begin here.
    """
    numbers = None if groups is None else groups.astype(np.int64).tobytes()
    return _group_images(labels.astype(np.int64).tobytes(), numbers)


@lru_cache(maxsize=2)
def _group_images(int64: bytes, numbers: bytes | None) -> Groups:
    labels = np.frombuffer(int64, np.int64)
    if numbers is None:
        n = np.arange(len(labels))
        return Groups(labels, n, np.ones_like(n), labels, Pairs(n, labels))
    groups = np.frombuffer(numbers, np.int64)
    _, first, of = np.unique(groups, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    of = order[of]
    k = int(labels.max(initial=0)) + 1
    cells = np.sort(of * k + labels)  # `np.unique` hashes integers, which takes longer.
    pairs = Pairs(*np.divmod(cells[np.flatnonzero(np.diff(cells, prepend=-1))], k))
    by_spread = np.argsort(-np.bincount(pairs.label), kind="stable")
    rarity = np.argsort(by_spread)
    starts = np.flatnonzero(np.diff(pairs.group, prepend=-1))
    strata = by_spread[np.maximum.reduceat(rarity[pairs.label], starts)]
    return Groups(labels, of, np.bincount(of), strata, pairs)


@lru_cache(maxsize=8)
def draw_held_out(groups: Groups, parts: int, split_seed: int) -> tuple[np.ndarray, ...]:
    """Draw so many held-out parts, each a sorted array of groups, then what is left.

    Each takes 10 % of the images. If there are groups of several images, the best of `DRAWS` draws
    is taken: one that leaves no class out of a part if there is any, and of these the one with the
    smallest squared distances from 10 % of each class.
    """
    if not parts:
        return (np.arange(len(groups.sizes)),)
    return (_draw_images if groups.single else _draw_groups)(groups, parts, split_seed)


def draw_training(groups: Groups, left: np.ndarray, train_ratio: float, seed: int) -> np.ndarray:
    """Take the first groups of `left`, in an order of the seed: `train_ratio` of all images.

    Larger subsets contain smaller ones, and each has every class.
    """
    chance = np.random.default_rng([seed, 1])
    if groups.single:
        counts = np.bincount(groups.labels)
        orders = [chance.permutation(of) for of in _by_class(groups.labels[left], left)]
        taken = [round_half_up(train_ratio * int(counts[groups.labels[o[0]]])) for o in orders]
        return np.concatenate([o[:n] for o, n in zip(orders, taken, strict=True)])
    wanted = round_half_up(train_ratio * len(groups.labels))
    return _take(groups, left, wanted, chance)


def _draw_images(groups: Groups, parts: int, split_seed: int) -> tuple[np.ndarray, ...]:
    labels, chance = groups.labels, np.random.default_rng([split_seed, 0])
    drawn: list[list[np.ndarray]] = [[] for _ in range(parts + 1)]
    for of_class in _by_class(labels, np.arange(len(labels))):
        members, n = chance.permutation(of_class), held_out_of(len(of_class))
        for i, part in enumerate(np.split(members, [n * (i + 1) for i in range(parts)])):
            drawn[i].append(part)
    return tuple(np.sort(np.concatenate(part)) for part in drawn)


def _by_class(labels: np.ndarray, members: np.ndarray) -> list[np.ndarray]:
    ends = np.cumsum(np.bincount(labels))[:-1]
    return [part for part in np.split(members[_order_by(labels)], ends) if len(part)]


def _order_by(labels: np.ndarray) -> np.ndarray:
    """Order by class, and keep the order within each class."""
    # numpy sorts short integers by radix.
    return np.argsort(labels.astype(np.min_scalar_type(labels.max(initial=0))), kind="stable")


def _draw_groups(groups: Groups, parts: int, split_seed: int) -> tuple[np.ndarray, ...]:
    chance = np.random.default_rng([split_seed, 0])
    counts = np.bincount(groups.labels)
    target = HELD_OUT * counts[counts > 0]
    best: tuple[np.ndarray, ...] = ()
    least = (np.inf, np.inf)
    most = int(np.clip(_WORK // len(groups.labels), _FEWEST, DRAWS))
    for _ in range(most):
        drawn, left = [], np.arange(len(groups.sizes))
        for _ in range(parts):
            drawn.append(np.sort(_take(groups, left, held_out_of(len(groups.labels)), chance)))
            left = np.setdiff1d(left, drawn[-1], assume_unique=True)
        held = groups.counts([*drawn, left])[:, counts > 0]
        away = held[:-1] - target
        missing = int((held == 0).sum())
        if (cost := (missing, float((away**2 / target).sum()))) < least:
            best, least = (*drawn, left), cost
        if not missing and (abs(away) <= np.maximum(_IMAGES, _NEAR * target)).all():
            break
    return best


def _take(groups: Groups, left: np.ndarray, wanted: int, chance: np.random.Generator) -> np.ndarray:
    """Take groups of `left` until they have as nearly so many images as whole groups can have.

    First come a few that have every class between them. The others follow in a random order in
    which each stratum is spread evenly.
    """
    if not len(left):
        return left
    order = chance.permutation(left)
    first = _covering(groups, order)
    early = first[order]
    order = np.concatenate([order[early], order[~early]])
    order = order[_order_by(groups.strata[order])]
    sizes, strata = groups.sizes[order], groups.strata[order]
    starts = np.flatnonzero(np.diff(strata, prepend=-1))
    which = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(order)))
    ends = np.cumsum(sizes)
    before, images = (ends - sizes)[starts], np.bincount(which, sizes)
    place = (ends - before[which] - chance.random(len(starts))[which] * sizes) / images[which]
    place[first[order]] = -1
    order = order[np.argsort(place, kind="stable")]
    n = max(int(first.sum()), _nearest(np.cumsum(groups.sizes[order]), wanted))
    taken: np.ndarray = order[:n]
    return taken


def _covering(groups: Groups, order: np.ndarray) -> np.ndarray:
    """The first groups of an order that have every class, those of rare classes first; bool [G]."""
    chosen, covered = np.zeros(len(groups.sizes), bool), np.zeros(groups.n_classes, bool)
    rank = np.full(len(chosen), len(order))
    rank[order] = np.arange(len(order))
    group, label = groups.pairs
    ranks = rank[group]
    spread = np.bincount(label[ranks < len(order)], minlength=len(covered))
    earliest = np.full(len(covered), len(order))
    np.minimum.at(earliest, label, ranks)
    covered[spread == 0] = True  # No group of the order has them.
    for rare in np.argsort(spread, kind="stable"):
        if not covered[rare]:
            one = order[earliest[rare]]
            chosen[one] = True
            covered[label[slice(*np.searchsorted(group, [one, one + 1]))]] = True
    return chosen


def _nearest(ends: np.ndarray, wanted: int) -> int:
    """How many groups come nearest to so many images, given how many each number of them has."""
    after = int(np.searchsorted(ends, wanted))
    if after == len(ends):
        return after
    below = int(ends[after - 1]) if after else 0
    return after + 1 if int(ends[after]) - wanted < wanted - below else after


def held_out_of(n: int) -> int:
    """Images, of `n` of a class, that a held-out part takes."""
    return max(1, round_half_up(HELD_OUT * n))


def round_half_up(x: float) -> int:
    """Round half up; Python's round goes to the even neighbour, so 0.5 images would be none."""
    return int(x + 0.5 + 1e-9)
