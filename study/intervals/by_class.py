"""Balanced accuracy and macro F1 on new seeds and new images.

Both count all classes alike, so no image counts as much as one of another class. The test set has
fixed numbers of each class, so its images are drawn within classes. Each class is then a two-way
table of its own (`study.intervals.two_way`): the images of one class tell nothing of another's, and
a seed is the same for all classes. The variance of the mean over K classes is

    V = max(R + C - E, R, C)
    R, seeds     variance of a seed's mean over the classes, / S
    C, images    sum over the classes of the variance of their image means, / (n_c K^2)
    E, residual  sum over the classes of their residual mean square, / (S n_c K^2)

With one class it is that of one table. R is that of the real images alone: pseudo-images tell
nothing of how much seeds differ. Degrees of freedom are Satterthwaite's over R and each class's
part of C, not below S - 1, as in `study.intervals.two_way.satterthwaite`.

One image does not tell how much another of its class would differ. So all classes of one image are
one table: their images differ from each other by as much, or by more (collapsed strata: Cochran,
Sampling Techniques, 1977, section 5A.12). If a single class has one image, nothing is known of its
other images, which may all be right or all wrong.

The few images of a rare class are often all right or all wrong. Its pseudo-images then keep it from
seeming certain, with the few degrees of freedom of its own table; in one table of all classes they
would have those of the others.

Macro F1 is no mean over images. To first order it is a sum over the images, of its derivatives by
the number of such images (the infinitesimal jackknife: Jaeckel, Bell Laboratories memorandum
72-1215-11, 1972). These are the values of the tables, and R is that of macro F1 itself.

Images that come in groups: `study.intervals.by_class_grouped`.

Axes: S seeds, N images, K classes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from study.intervals.two_way import (
    CONFIDENCE,
    DIFFERENCE_PSEUDO,
    SHARE_PSEUDO,
    Floats,
    Parts,
    TInterval,
    pseudo_values,
    satterthwaite,
)

Classes = NDArray[np.int64]
Interval = Callable[[Classes, Classes, Classes | None], TInterval]
"""Classes that S networks predict for N images, [..., S, N]; the true ones, [N], each from 0 to
K - 1 at least once; and what S others predict, to compare the two, or None -> the interval."""


class _Table(NamedTuple):
    """The images of one class, or of all classes with one image."""

    values: Floats
    """[..., S, n]; the last ones are pseudo-images'."""
    counts: Floats
    """How many images each stands for, [n]: one, or less for a pseudo-image."""
    classes: int
    """How many."""
    images: int
    """How many are no pseudo-images."""


def balanced_accuracy_interval(
    chosen: Classes, labels: Classes, minus: Classes | None = None
) -> TInterval:
    """Return the interval of the mean recall of the classes, or of the paired difference.

    The pseudo-images of an accuracy, two right and two wrong, are shared evenly among the classes
    (Price and Bonett, Computational Statistics and Data Analysis 45, 2004): as many for each class
    would pull the mean of many classes far to the middle. So are those of a difference.
    """
    hits = (chosen == labels).astype(float)
    pseudo: tuple[float, ...] = SHARE_PSEUDO
    if minus is not None:
        hits, pseudo = hits - (minus == labels), DIFFERENCE_PSEUDO
    k = int(labels.max()) + 1
    means, real, tables = np.zeros(hits.shape[:-1]), np.zeros(hits.shape[:-1]), []
    for classes in strata(np.bincount(labels)):
        values, share = hits[..., np.isin(labels, classes)], len(classes) / k
        t = _with_pseudo(values, pseudo_values(values, pseudo), share, len(classes))
        means += share * (t.values @ t.counts) / t.counts.sum()
        real += share * values.mean(axis=-1)
        tables.append(t)
    return _interval(means, real, tables, float(np.ptp(pseudo)))


def macro_f1_interval(chosen: Classes, labels: Classes, minus: Classes | None = None) -> TInterval:
    """Return the interval of the mean F1 of the classes, or of the paired difference.

    It has the pseudo-images of balanced accuracy; a wrong one is predicted as any other class.
    """
    k = int(labels.max()) + 1
    count = (1 if minus is not None else 2) / k
    alone = np.bincount(labels) == 1
    f1, parts, right, wrong = macro_f1_parts(chosen, labels, count, alone)
    real = macro_f1_parts(chosen, labels, 0.0, alone)[0]
    if minus is not None:
        real = real - macro_f1_parts(minus, labels, 0.0, alone)[0]
        other, less, less_right, less_wrong = macro_f1_parts(minus, labels, count, alone)
        f1, parts = f1 - other, parts - less
        right, wrong = right - less_wrong, wrong - less_right
    tables = []
    for classes in strata(np.bincount(labels)):
        pseudo = np.concatenate([right[..., classes], wrong[..., classes]], axis=-1)
        t = _with_pseudo(parts[..., np.isin(labels, classes)], pseudo, count, len(classes))
        tables.append(t._replace(values=t.values * t.counts.sum() * k / t.classes))
    return _interval(f1, real, tables, 1.0 if minus is None else 2.0)


def macro_f1_parts(
    chosen: Classes, labels: Classes, n_pseudo: float, alone: np.ndarray
) -> tuple[Floats, Floats, Floats, Floats]:
    """Macro F1 with so many right and so many wrong pseudo-images a class, and its derivatives.

    F1 of a class is 2 T / (n + M): T of its n images are right, and M images are predicted as it.
    Where all images of a class are drawn at once, none of them may be right, and F1 is then 0. A
    derivative falls short of that, as a right image also raises M: it counts a T-th of F1 there.

    Args:
        chosen: predicted classes, [..., S, N].
        labels: the true ones, [N].
        n_pseudo: how many.
        alone: classes of which there is one image or group, bool [K].

    Returns:
        Macro F1 [..., S]; its derivative by the number of images such as each, [..., S, N], and of
        those such as the right and the wrong pseudo-images of each class, [..., S, K] each.
    """
    k = int(labels.max()) + 1
    hit = chosen == labels
    n = np.bincount(labels) + 2 * n_pseudo
    right = np.stack([hit[..., labels == c].sum(axis=-1) for c in range(k)], axis=-1) + n_pseudo
    # A class has n_pseudo / (K - 1) of the wrong ones of each other class.
    predicted = np.stack([(chosen == c).sum(axis=-1) for c in range(k)], axis=-1) + 2 * n_pseudo
    f1 = 2 * right / (n + predicted)
    more_right, more_predicted = 2 / (n + predicted) / k, -f1 / (n + predicted) / k
    if_right = more_right + np.where(alone, 0.0, more_predicted)
    if_wrong = np.take_along_axis(more_predicted, chosen, axis=-1)
    parts = np.where(hit, if_right[..., labels], if_wrong)
    others = (more_predicted.sum(axis=-1, keepdims=True) - more_predicted) / (k - 1)
    return f1.mean(axis=-1), parts, if_right, others


def strata(counts: np.ndarray) -> list[np.ndarray]:
    """Classes that have a table together, by how many images or groups each has, [K]."""
    several = [np.array([c]) for c in np.flatnonzero(counts > 1)]
    one = np.flatnonzero(counts == 1)
    return [*several, one] if len(one) else several


def _with_pseudo(values: Floats, pseudo: Floats, count: float, classes: int) -> _Table:
    together, n = np.concatenate([values, pseudo], axis=-1), values.shape[-1]
    counts = np.full(together.shape[-1], count)
    counts[:n] = 1
    return _Table(together, counts, classes, n)


def _interval(scores: Floats, real: Floats, tables: Sequence[_Table], reach: float) -> TInterval:
    """Return the interval of the mean of the seeds' scores, [..., S].

    Args:
        scores: [..., S].
        real: those without pseudo-images, [..., S]; they tell how much seeds differ.
        tables: one or more.
        reach: the largest score minus the smallest.
    """
    s, k = scores.shape[-1], sum(t.classes for t in tables)
    seeds = real.var(axis=-1, ddof=1) / s if s > 1 else np.zeros(scores.shape[:-1])
    residual, parts = np.zeros_like(seeds), []
    unknown = sum(t.classes for t in tables if t.images == 1) / k
    for values, counts, classes, _ in (t for t in tables if t.images > 1):
        n = counts.sum()
        free = max(n - 1, 1.0)
        share = (classes / k) ** 2 / n / free
        rows = values @ counts / n
        columns = values.mean(axis=-2)
        mean = rows.mean(axis=-1)[..., None]
        parts.append(((columns - mean) ** 2 @ counts * share, free))
        if s > 1:
            left = values - rows[..., None] - columns[..., None, :] + mean[..., None]
            residual += (left**2 @ counts).sum(axis=-1) / (s - 1) / s * share
    of_images = np.sum([own for own, _ in parts], axis=0)
    of_all = Parts(seeds + of_images - residual, seeds, s - 1, parts)
    return widened(satterthwaite(scores.mean(axis=-1).round(12), of_all), unknown * reach)


def widened(t: TInterval, unknown: float) -> TInterval:
    """Widen an interval to either side by as much as what is unknown can change its center."""
    if unknown == 0:
        return t
    quantile = special.stdtrit(t.df, (1 + CONFIDENCE) / 2)
    return TInterval(t.center, t.error + unknown / quantile, t.df)
