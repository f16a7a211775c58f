"""Balanced accuracy and macro F1 as tables of images, whose groups have an interval.

Both count all classes alike. To first order each is a mean over the images of linear values, in
which an image of a rare class counts for more (the infinitesimal jackknife, as in
`study.intervals.by_class`). Sums of these values over groups are then what varies with the groups
that are drawn (`study.intervals.grouped`), whatever classes a group has.
"""

from collections.abc import Callable

import numpy as np

from study.intervals.by_class import Classes, macro_f1_parts
from study.intervals.two_way import Floats

Linear = Callable[[Classes, Classes], Floats]
"""Predicted classes [S, N] and the true ones [N] -> linear values, [S, N]."""


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
