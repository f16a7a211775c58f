"""Tables of images that come in groups, such as those of one patient, as tables of groups.

Images of a group are alike, so the next photo of a known patient tells less than one of a new
patient. What varies is the draw of the groups: the interval is on photos of new groups. Each of G
groups takes the place of an image; it weighs as much as it has images, so that the mean stays that
of the images.

A large group pulls the mean of all to its own, so its distance from it is too small: by the share
of the images that it has. This is made up for, and a few large groups among many small ones have
fewer degrees of freedom (Bell and McCaffrey, Survey Methodology 28, 2002).
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from study.intervals.two_way import Floats, TInterval, pseudo_values, with_pseudo

_LARGEST = 0.9
"""Share of one group beyond which its distance tells no more."""


def by_groups(tables: Floats, groups: np.ndarray | None) -> Floats:
    """Turn tables of N images, [..., S, N], into tables of G groups, [..., S, G].

    The mean over images is a ratio, of a sum over groups and their sizes, which both change with
    the groups that are drawn. Its variance is that of the mean of m + n_g (m_g - m) / n, to first
    order: m is the mean of all, n_g the size of a group and m_g its mean, n the average size
    (Cochran, Sampling Techniques, 1977, section 2.11, linearisation). These values, further apart
    where sizes differ, are the table that is returned; their means for each seed are those of the
    images.

    Args:
        tables: a value for each seed and image.
        groups: int64 [N], from 0 to G - 1; None if each image is its own.
    """
    if groups is None:
        return tables
    return _linearised(*_sums(tables, groups))


def free_groups(groups: np.ndarray | None, pseudo: int = 0) -> float | None:
    """Return the degrees of freedom of groups, or None if each image is its own.

    They are Satterthwaite's for squares that are as large as those of the sizes, as they are where
    images of a group are alike; G - 1 if all have one size. Each pseudo-image is one more.
    """
    if groups is None:
        return None
    squares = np.bincount(groups).astype(float) ** 2
    return float(squares.sum() ** 2 / (squares**2).sum()) - 1 + pseudo


def pulled(share: Floats) -> Floats:
    """What is left of a group's squared distance from a mean, of which it has a share, if alike."""
    return 1 - np.minimum(share, _LARGEST)


def number_groups(groups: np.ndarray) -> np.ndarray | None:
    """Number groups from 0; None if each has one image."""
    numbers = np.unique(groups, return_inverse=True)[1]
    return None if numbers.max(initial=-1) + 1 == len(numbers) else numbers.astype(np.int64)


def grouped_with_pseudo(table: Floats, groups: np.ndarray | None, pseudo: ArrayLike) -> Floats:
    """Turn tables of N images, [..., S, N], into tables of groups with pseudo-images.

    A pseudo-image is a group of its own. It has as many images as one image tells: one where images
    of a group are independent, as many as a group where they are all the same, which is also taken
    if nothing varies. The share of a group is the ratio of the variances of groups and images, the
    design effect over the size of a group (Kish, Survey Sampling, 1965, section 5.4). Few groups
    hardly tell it: with G of them it is by 1 / (G - 1) nearer to that of images that are the same.

    Args:
        table: a value for each seed and image.
        groups: as for `by_groups`.
        pseudo: values of P pseudo-images, [P] or [..., 1, P].
    """
    if groups is None:
        return with_pseudo(table, pseudo)
    sums, sizes = _sums(table, groups)
    found = _linearised(sums, sizes)
    of_groups, of_images = (t.mean(axis=-2).var(axis=-1, ddof=1) for t in (found, table))
    share = np.divide(of_groups, of_images, out=np.ones_like(of_images), where=of_images > 0)
    share = share + (1 - share) / (len(sizes) - 1)
    size = np.clip(share * sizes.mean(), 1, sizes.mean())[..., None, None]
    added = size * pseudo_values(table, pseudo)
    own = np.broadcast_to(size, (*size.shape[:-1], added.shape[-1]))
    real = np.broadcast_to(sizes, (*size.shape[:-1], len(sizes)))
    return _linearised(np.concatenate([sums, added], axis=-1), np.concatenate([real, own], axis=-1))


def at_most(t: TInterval, free: float) -> TInterval:
    """Return an interval whose images have no more degrees of freedom than `free`."""
    if t.parts is None:
        return t
    images = [(part, min(own_free, free)) for part, own_free in t.parts.images]
    df = np.minimum(t.df, max(free, t.parts.free, 1))
    return replace(t, df=df, parts=replace(t.parts, images=images))


def _sums(tables: Floats, groups: np.ndarray) -> tuple[Floats, Floats]:
    """Sums over the images of each group, [..., S, G], and how many these are, [G]."""
    sizes = np.bincount(groups)
    order = np.argsort(groups, kind="stable")
    starts = np.cumsum(sizes) - sizes
    return np.add.reduceat(tables[..., order], starts, axis=-1), sizes.astype(float)


def _linearised(sums: Floats, sizes: Floats) -> Floats:
    """Values, [..., S, G], whose mean is that of the images, from sums and sizes [..., 1, G]."""
    size = sizes.mean(axis=-1, keepdims=True)
    mean = sums.mean(axis=(-2, -1), keepdims=True) / size
    found = mean + (sums - sizes * mean) / size
    rows = found.mean(axis=-1, keepdims=True)
    # A table of G groups makes up for (G - 1) / G itself.
    more = (1 - 1 / sums.shape[-1]) / pulled(sizes / sizes.sum(axis=-1, keepdims=True))
    apart = (found - rows) * np.sqrt(more)
    values: Floats = rows + apart - apart.mean(axis=-1, keepdims=True)
    return values
