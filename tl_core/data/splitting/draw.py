"""How images are drawn: held-out parts and nested training subsets, by whole groups.

If every image is on its own, each class is drawn alone, to the image. Groups are drawn whole, so
shares are met as well as the groups allow. A group of several classes counts for the one that is in
the fewest groups, its stratum: that class is the hardest to share out. All strata are taken from
at the same rate (systematic sampling: Cochran, Sampling Techniques, 1977, chapter 8).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tl_core.data.splitting.rules import HELD_OUT

DRAWS, _FEWEST, _WORK = 100, 10, 1_000_000
"""Draws of the held-out parts of groups, of which the most balanced is taken: fewer if draws x
images would be more than `_WORK`, some seconds."""
_NEAR, _IMAGES = 0.02, 2
"""A draw is balanced if each class is as near to its share as this, or as so many images."""


@dataclass(frozen=True)
class Groups:
    """N images in G groups, each of which counts for one class, its stratum."""

    labels: np.ndarray
    """int64 [N]."""
    of: np.ndarray
    """int64 [N], the group of each image, from 0 in the order of their first images."""
    sizes: np.ndarray
    """int64 [G], images of each."""
    strata: np.ndarray
    """int64 [G], the class that each counts for."""

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


def group_images(labels: np.ndarray, groups: np.ndarray | None) -> Groups:
    """Return the groups of images; without `groups` each image is its own."""
    labels = labels.astype(np.int64)
    if groups is None:
        n = np.arange(len(labels))
        return Groups(labels, n, np.ones_like(n), labels)
    _, first, of = np.unique(groups, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    of = order[of]
    pairs = np.unique(np.stack([of, labels]), axis=1)
    kinds, spread = np.unique(pairs[1], return_counts=True)
    strata = np.empty(len(first), np.int64)
    for label in kinds[np.argsort(-spread, kind="stable")]:  # The rarest is written last.
        strata[pairs[0][pairs[1] == label]] = label
    return Groups(labels, of, np.bincount(of), strata)


def draw_held_out(groups: Groups, parts: int, split_seed: int) -> list[np.ndarray]:
    """Draw so many held-out parts, each a sorted array of groups, then what is left.

    Each takes 10 % of the images. If there are groups of several images, the best of `DRAWS` draws
    is taken: one that leaves no class out of a part if there is any, and of these the one with the
    smallest squared distances from 10 % of each class.
    """
    if not parts:
        return [np.arange(len(groups.sizes))]
    if groups.single:
        return _draw_images(groups.labels, parts, split_seed)
    arrays = (groups.labels, groups.of, groups.sizes, groups.strata)
    return list(_balanced(tuple(a.tobytes() for a in arrays), parts, split_seed))


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


def _draw_images(labels: np.ndarray, parts: int, split_seed: int) -> list[np.ndarray]:
    chance = np.random.default_rng([split_seed, 0])
    drawn: list[list[np.ndarray]] = [[] for _ in range(parts + 1)]
    for of_class in _by_class(labels, np.arange(len(labels))):
        members, n = chance.permutation(of_class), held_out_of(len(of_class))
        for i, part in enumerate(np.split(members, [n * (i + 1) for i in range(parts)])):
            drawn[i].append(part)
    return [np.sort(np.concatenate(part)) for part in drawn]


def _by_class(labels: np.ndarray, members: np.ndarray) -> list[np.ndarray]:
    return [members[labels == label] for label in np.unique(labels)]


@lru_cache(maxsize=8)
def _balanced(int64: tuple[bytes, ...], parts: int, split_seed: int) -> tuple[np.ndarray, ...]:
    groups = Groups(*(np.frombuffer(array, np.int64) for array in int64))
    chance = np.random.default_rng([split_seed, 0])
    counts = np.bincount(groups.labels)
    target = HELD_OUT * counts[counts > 0]
    best: list[np.ndarray] = []
    least = (np.inf, np.inf)
    most = int(np.clip(_WORK // len(groups.labels), _FEWEST, DRAWS))
    for _ in range(most):
        drawn, left = [], np.arange(len(groups.sizes))
        for _ in range(parts):
            drawn.append(np.sort(_take(groups, left, held_out_of(len(groups.labels)), chance)))
            left = np.setdiff1d(left, drawn[-1])
        drawn.append(left)
        held = [np.bincount(groups.labels[groups.members(p)], minlength=len(counts)) for p in drawn]
        away = np.array([part[counts > 0] - target for part in held[:-1]])
        missing = sum(int((part[counts > 0] == 0).sum()) for part in held)
        if (cost := (missing, float((away**2 / target).sum()))) < least:
            best, least = drawn, cost
        if not missing and (abs(away) <= np.maximum(_IMAGES, _NEAR * target)).all():
            break
    return tuple(best)


def _take(groups: Groups, left: np.ndarray, wanted: int, chance: np.random.Generator) -> np.ndarray:
    """Take groups of `left` until they have as nearly so many images as whole groups can have.

    First come a few that have every class between them. The others follow in a random order in
    which each stratum is spread evenly.
    """
    if not len(left):
        return left
    order = chance.permutation(left)
    first = _covering(groups, order)
    early = np.isin(order, first)
    order = np.concatenate([order[early], order[~early]])
    order = order[np.argsort(groups.strata[order], kind="stable")]
    sizes, strata = groups.sizes[order], groups.strata[order]
    _, starts, which = np.unique(strata, return_index=True, return_inverse=True)
    ends = np.cumsum(sizes)
    before, images = (ends - sizes)[starts], np.bincount(which, sizes)
    place = (ends - before[which] - chance.random(len(starts))[which] * sizes) / images[which]
    place[np.isin(order, first)] = -1
    order = order[np.argsort(place, kind="stable")]
    return order[: max(len(first), _nearest(np.cumsum(groups.sizes[order]), wanted))]


def _covering(groups: Groups, order: np.ndarray) -> np.ndarray:
    """The first groups of an order that have every class, those of rare classes first."""
    rank = np.empty(len(groups.sizes), np.int64)
    rank[order] = np.arange(len(order))
    images = groups.members(order)
    pairs = np.unique(np.stack([groups.labels[images], groups.of[images]]), axis=1)
    having = np.split(pairs[1], np.unique(pairs[0], return_index=True)[1][1:])
    chosen: set[int] = set()
    for groups_of_class in sorted(having, key=len):
        if chosen.isdisjoint(groups_of_class.tolist()):
            chosen.add(int(groups_of_class[np.argmin(rank[groups_of_class])]))
    return np.array(sorted(chosen), np.int64)


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
