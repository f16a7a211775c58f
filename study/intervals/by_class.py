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

Macro F1 is no mean over images. To first order it is a sum over the images, of its derivatives by
the number of such images (the infinitesimal jackknife: Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 22). These are the values of the tables, and R is that of macro F1 itself.

If images come in groups, both are tables of images instead: to first order each is a mean over the
images of linear values, in which an image of a rare class counts for more. Sums of these over
groups are then what varies with the groups that are drawn (`study.intervals.grouped`), whatever
classes a group has.

Axes: S seeds, N images, K classes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.intervals.two_way import (
    DIFFERENCE_PSEUDO,
    SHARE_PSEUDO,
    Floats,
    TInterval,
    pseudo_values,
    satterthwaite,
)

Classes = NDArray[np.int64]
Interval = Callable[[Classes, Classes, Classes | None], TInterval]
"""Classes that S networks predict for N images, [..., S, N]; the true ones, [N], each from 0 to
K - 1 at least once; and what S others predict, to compare the two, or None -> the interval."""
Linear = Callable[[Classes, Classes], Floats]
"""Predicted classes [S, N] and the true ones [N] -> linear values, [S, N]."""


class _Table(NamedTuple):
    """The images of one class."""

    values: Floats
    """[..., S, n]; the last ones are pseudo-images'."""
    counts: Floats
    """How many images each stands for, [n]: one, or less for a pseudo-image."""


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
    counts = np.full(len(pseudo), 1 / k)
    own = [hits[..., labels == c] for c in range(k)]
    tables = [_with_pseudo(values, pseudo_values(values, pseudo), counts) for values in own]
    means = np.mean([t.values @ t.counts / t.counts.sum() for t in tables], axis=0)
    return _interval(means, np.mean([values.mean(axis=-1) for values in own], axis=0), tables)


def macro_f1_interval(chosen: Classes, labels: Classes, minus: Classes | None = None) -> TInterval:
    """Return the interval of the mean F1 of the classes, or of the paired difference.

    It has the pseudo-images of balanced accuracy; a wrong one is predicted as any other class.
    """
    k = int(labels.max()) + 1
    counts = np.full(2, (1 if minus is not None else 2) / k)
    f1, parts, right, wrong = macro_f1_parts(chosen, labels, counts[0])
    real = macro_f1_parts(chosen, labels, 0.0)[0]
    if minus is not None:
        real = real - macro_f1_parts(minus, labels, 0.0)[0]
        other, less, less_right, less_wrong = macro_f1_parts(minus, labels, counts[0])
        f1, parts = f1 - other, parts - less
        right, wrong = right - less_wrong, wrong - less_right
    pseudo = np.stack([right, wrong], axis=-1)
    tables = [_with_pseudo(parts[..., labels == c], pseudo[..., c, :], counts) for c in range(k)]
    scaled = [_Table(t.values * k * t.counts.sum(), t.counts) for t in tables]
    return _interval(f1, real, scaled)


def macro_f1_parts(
    chosen: Classes, labels: Classes, n_pseudo: float
) -> tuple[Floats, Floats, Floats, Floats]:
    """Macro F1 with so many right and so many wrong pseudo-images a class, and its derivatives.

    F1 of a class is 2 T / (n + M): T of its n images are right, and M images are predicted as it.

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
    parts = np.take_along_axis(more_predicted, chosen, axis=-1)
    parts += np.where(hit, more_right[..., labels], 0.0)
    others = (more_predicted.sum(axis=-1, keepdims=True) - more_predicted) / (k - 1)
    return f1.mean(axis=-1), parts, more_right + more_predicted, others


def _with_pseudo(values: Floats, pseudo: Floats, counts: Floats) -> _Table:
    together = np.concatenate([values, pseudo], axis=-1)
    return _Table(together, np.concatenate([np.ones(values.shape[-1]), counts]))


def _interval(scores: Floats, real: Floats, tables: Sequence[_Table]) -> TInterval:
    """Return the interval of the mean of the seeds' scores, [..., S].

    How much seeds differ is told by `real`, their scores without pseudo-images, [..., S].
    """
    s = scores.shape[-1]
    seeds = real.var(axis=-1, ddof=1) / s if s > 1 else np.zeros(scores.shape[:-1])
    residual, parts = np.zeros_like(seeds), []
    for values, counts in tables:
        n = counts.sum()
        free = max(n - 1, 1.0)
        rows = values @ counts / n
        columns = values.mean(axis=-2)
        mean = rows.mean(axis=-1)[..., None]
        own = (columns - mean) ** 2 @ counts / free / n / len(tables) ** 2
        parts.append((own, free))
        if s > 1:
            left = values - rows[..., None] - columns[..., None, :] + mean[..., None]
            square = (left**2 @ counts).sum(axis=-1) / (s - 1) / free
            residual += square / s / n / len(tables) ** 2
    images = np.sum([own for own, _ in parts], axis=0)
    variance = np.maximum(seeds + images - residual, np.maximum(seeds, images))
    return satterthwaite(scores.mean(axis=-1).round(12), variance, s, seeds, parts)


def balanced_accuracy_table(chosen: Classes, labels: Classes) -> Floats:
    """Return values whose mean over the images is each seed's mean recall, [S, N].

    An image is away from the mean of all seeds by as much as from its class's recall, times how
    much more it counts than in an accuracy.
    """
    hits = (chosen == labels).astype(float)
    counts = np.bincount(labels)
    recall = np.array([hits[:, labels == c].mean() for c in range(len(counts))])
    weights = len(labels) / (len(counts) * counts)
    values: Floats = recall.mean() + (hits - recall[labels]) * weights[labels]
    return values


def macro_f1_table(chosen: Classes, labels: Classes) -> Floats:
    """Return values whose mean over the images is each seed's macro F1, [S, N].

    The numbers of each class are taken as fixed, so an image counts by how far it is from the mean
    of its class.
    """
    f1, parts, _, _ = macro_f1_parts(chosen, labels, 0.0)
    counts = np.bincount(labels)
    means = np.stack([parts[:, labels == c].mean(axis=1) for c in range(len(counts))], axis=1)
    values: Floats = f1[:, None] + len(labels) * (parts - means[:, labels])
    return values
