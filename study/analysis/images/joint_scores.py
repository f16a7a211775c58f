"""A score of several cells at once: their means, and how these vary together.

The cells of a curve share the test images, and so do the leads of one mode over another at several
ratios. So a line through them needs all their covariances. Accuracy is a mean over images; balanced
accuracy, macro F1 and AUROC are to first order, of linear values (`linear_values`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from study.analysis.images.image_scores import OF_ALL_IMAGES, ImageScores, linear_values
from study.intervals.by_class_grouped import free_of_classes
from study.intervals.grouped import free_groups, grouped_with_pseudo
from study.intervals.two_way import Floats, MeanSquares, mean_squares

Networks = Sequence[ImageScores]
"""Of a cell, one for each of S seeds."""


def joint_scores(
    score: str, cells: Sequence[Networks], pseudo: ArrayLike, minus: Sequence[Networks] = ()
) -> MeanSquares | None:
    """Return the means of a score that is a share in R cells, or of R paired differences.

    None if a single class has one image, or one group: how others of that class differ is unknown.

    Args:
        score: accuracy, or one of `OF_ALL_IMAGES`.
        cells: R of them, of the same seeds.
        pseudo: values of P pseudo-images, [P] or [R, 1, P], as for a mean over images.
        minus: R cells to compare them with.
    """
    tables = np.array([linear_values(score, networks) for networks in cells])
    if minus:
        tables = tables - np.array([linear_values(score, networks) for networks in minus])
    first, values = cells[0][0], np.asarray(pseudo, dtype=float)
    free = free_groups(first.groups, values.shape[-1])
    if score in OF_ALL_IMAGES:
        of_classes, unknown = free_of_classes(tables, first.labels, first.own_groups)
        if unknown:
            return None
        free = min(of_classes, len(first.labels) - 1 if free is None else free)
    if score == "test_balanced_accuracy":
        values = _as_heavy_as_images_of(first.labels, values)
    return mean_squares(grouped_with_pseudo(tables, first.groups, values), free)


def constant_scores(labels: np.ndarray) -> dict[str, float]:
    """Return the scores of naming the most frequent class each time, and of ranking all alike.

    They are those that are 1 minus an error rate: of all images, the mean of those of the classes,
    and of pairs of images that are ranked. Macro F1 is none.

    Args:
        labels: int64 [N]; classes without an image do not count.
    """
    counts = np.bincount(labels)
    return {
        "test_accuracy": float(counts.max() / counts.sum()),
        "test_balanced_accuracy": 1 / int(np.count_nonzero(counts)),
        "test_auroc": 0.5,
    }


def _as_heavy_as_images_of(labels: np.ndarray, pseudo: Floats) -> Floats:
    """Move pseudo-images as far from their mean as images of the classes are, in mean square.

    One of n images of a class, of K, counts N / (K n) times as much as one of N. Of a rare class
    all images may be right, and another that is wrong would still change much: intervals of a
    single cell have pseudo-images in each class (`study.intervals.by_class`).
    """
    counts = np.bincount(labels)
    heavy = np.sqrt(np.mean((len(labels) / (len(counts) * counts)) ** 2))
    middle = pseudo.mean(axis=-1, keepdims=True)
    moved: Floats = middle + heavy * (pseudo - middle)
    return moved
