"""Recall of each class: which share of its images the networks of a cell recognise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from study.analysis.estimates import Confirmed
from study.intervals.estimate import wilson
from study.intervals.grouped import free_groups, grouped_with_pseudo, number_groups
from study.intervals.two_way import CONFIDENCE, SHARE_PSEUDO, Floats, two_way
from tl_core.text import natural_key, printable


@dataclass(frozen=True)
class Recall:
    """One class in one cell."""

    name: str
    """Of the class, printable."""
    images: int
    """Test images of the class."""
    mean: float
    """Share of them that a network recognises, mean over the seeds."""
    low: float
    """Of Wilson's interval, on new photos: other seeds and other images of the class."""
    high: float


def recalls(
    trials: Sequence[Confirmed], classes: Sequence[str], together: bool = False
) -> list[Recall]:
    """Return the recall of each class over the trials of a cell, in natural order of the names.

    All seeds see the same images, so the n of Wilson's interval is the number of images, and not
    that times the seeds. If seeds differ by more than these images explain, n is as much smaller as
    makes the interval as wide as the two-way one (effective sample size: Korn and Graubard, Survey
    Methodology 24, 1998). So it is if images come in groups. With one seed, it is about this one
    network.

    The worst of many classes is partly so by luck, and its true recall is often above a 95 %
    interval. `together`: all intervals hold at once (Bonferroni), so that of the worst does, too.

    Returns nothing if a trial has not kept its outputs.
    """
    kept = [images for c in trials if (images := c.images)]
    if len(kept) < len(trials):
        return []
    labels, hits = kept[0].labels, np.array([one.values["test_accuracy"] for one in kept])
    groups = kept[0].groups
    level = 1 - (1 - CONFIDENCE) / (len(classes) if together else 1)
    found = []
    for label, name in sorted(enumerate(classes), key=lambda each: natural_key(each[1])):
        own = hits[:, labels == label]
        mean, images = float(own.mean()), own.shape[1]
        own_groups = None if groups is None else number_groups(groups[labels == label])
        n = _effective(own, own_groups)
        found.append(Recall(printable(name), images, mean, *wilson(mean, n, level)))
    return found


def _effective(hits: Floats, groups: np.ndarray | None) -> float:
    """The number of images that tell as much of the mean of hits [S, n] as these: from 1 to n.

    It compares the two-way interval with what it would be if all seeds said the same of each image,
    each of which is its own.
    """
    if groups is not None and not groups.any():
        return 1.0  # One group.
    images, own_free = hits.shape[1], free_groups(groups, len(SHARE_PSEUDO))
    found = two_way(grouped_with_pseudo(hits, groups, SHARE_PSEUDO), free=own_free)
    free = images + len(SHARE_PSEUDO) - 1
    mean = float(found.center)
    alike = float(special.stdtrit(free, (1 + CONFIDENCE) / 2)) * math.sqrt(mean * (1 - mean) / free)
    told = free * (alike / float(found.half_width())) ** 2
    return float(min(max(told - free + images, 1.0), images))
