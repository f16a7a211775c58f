"""Balanced accuracy and macro F1 on new seeds and new groups of images.

To first order each is a mean over the images of linear values, in which an image of a rare class
counts for more. Sums of these over groups are what varies with the groups that are drawn
(`study.intervals.grouped`), whatever classes a group has.

The numbers of each class are taken as fixed. So a value is how far an image is from the mean of its
class, or from that of all classes with one group (`study.intervals.by_class`). A group pulls this
mean to itself by its share of the images of the class, which is made up for (Bell and McCaffrey,
Survey Methodology 28, 2002). Degrees of freedom are Satterthwaite's over the classes, of the groups
of each: a rare class may have most of the variance.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from study.intervals.by_class import Classes, macro_f1_parts, strata, widened
from study.intervals.grouped import at_most, free_groups, grouped_with_pseudo, pulled
from study.intervals.two_way import Floats, TInterval, two_way

Linear = Callable[[Classes, Classes, Classes], Floats]
"""Predicted classes [S, N], the true ones [N] and groups [N] -> linear values, [S, N]."""


def grouped_interval(
    table: Floats, labels: Classes, groups: Classes, pseudo: ArrayLike
) -> TInterval:
    """Return the interval on photos of new groups.

    Args:
        table: linear values or their differences, [S, N].
        labels: [N].
        groups: [N], from 0 to G - 1, two or more.
        pseudo: values of pseudo-images.
    """
    free = free_groups(groups, np.size(pseudo))
    t = two_way(grouped_with_pseudo(table, groups, pseudo), free=free)
    free, unknown = free_of_classes(table[None], labels, groups)
    return widened(at_most(t, free), unknown * float(np.ptp(pseudo)))


def free_of_classes(tables: Floats, labels: Classes, groups: Classes) -> tuple[float, float]:
    """Return the degrees of freedom of the groups, and the share of classes that show none.

    They are Satterthwaite's over the classes, in R tables of linear values, [R, S, N], together;
    infinite if nothing varies. A single class with one group does not show how others differ.
    """
    means = tables.mean(axis=1)
    away = means - means.mean(axis=-1, keepdims=True)
    unknown, total, spread = 0.0, 0.0, 0.0
    for classes, drawn, inside in _drawn(labels, groups):
        if drawn == 1:
            unknown = len(classes) / (int(labels.max()) + 1)
            continue
        own = sum(float((np.bincount(groups[inside], row[inside]) ** 2).sum()) for row in away)
        free = drawn - 1.0
        if len(classes) == 1:
            free = max(free_groups(np.unique(groups[inside], return_inverse=True)[1]) or 0.0, 1.0)
        total, spread = total + own, spread + own**2 / free
    return total**2 / spread if spread > 0 else np.inf, unknown


def balanced_accuracy_table(chosen: Classes, labels: Classes, groups: Classes) -> Floats:
    """Return values whose mean over the images is each seed's mean recall, [S, N]."""
    counts = np.bincount(labels)
    parts = (chosen == labels) / (counts * len(counts))[labels]
    return values_around(parts.sum(axis=1), parts, labels, groups)


def macro_f1_table(chosen: Classes, labels: Classes, groups: Classes) -> Floats:
    """Return values whose mean over the images is each seed's macro F1, [S, N]."""
    alone = groups_of_classes(labels, groups) == 1
    f1, parts, _, _ = macro_f1_parts(chosen, labels, 0.0, alone)
    return values_around(f1, parts, labels, groups)


def values_around(scores: Floats, parts: Floats, labels: Classes, groups: Classes) -> Floats:
    """Return a value for each image around the score of each seed, [S], from what it adds to it.

    Both are [S, N].
    """
    n, counts = len(labels), np.bincount(labels)
    of_all = pulled(np.bincount(groups) / n)
    sums = np.stack([parts[:, labels == c].sum(axis=1) for c in range(len(counts))], axis=1)
    values = np.empty_like(parts)
    for classes, drawn, inside in _drawn(labels, groups):
        mean = sums[:, classes].mean(axis=1)[:, None] / counts[labels[inside]]
        share = np.full(len(of_all), 1 / drawn)
        if len(classes) == 1:
            share = np.bincount(groups[inside], minlength=len(of_all)) / counts[classes[0]]
        # `by_groups` makes up for the share of all images itself.
        kept = pulled(share) / of_all if drawn > 1 else np.ones_like(of_all)
        apart = (parts[:, inside] - mean) / np.sqrt(kept[groups[inside]])
        # Each group gives as much of what brings their mean back to the score.
        own = np.bincount(groups[inside], minlength=len(of_all))[groups[inside]] * drawn
        apart -= apart.sum(axis=1, keepdims=True) / own
        values[:, inside] = scores[:, None] + n * apart
    return values


def _drawn(labels: Classes, groups: Classes) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """Yield classes that are one stratum, how many groups they have, and their images, bool [N]."""
    for classes in strata(groups_of_classes(labels, groups)):
        inside = np.isin(labels, classes)
        yield classes, len(np.unique(groups[inside])), inside


def groups_of_classes(labels: Classes, groups: Classes) -> np.ndarray:
    """How many groups each class has, [K]."""
    return np.bincount(np.unique(np.stack([labels, groups]), axis=1)[0])
