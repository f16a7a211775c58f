"""Recall of each class."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from study.analysis.images.recall import recalls
from study.analysis.tables import recall_table
from study.intervals.estimate import wilson
from tests.support.studies.builders import make_confirmed
from tests.support.studies.image_tables import seen, with_images
from tests.support.studies.simulated_hits import Photos

EVEN, ODD = np.arange(40) % 2 == 0, np.arange(40) % 2 == 1
"""The images of cats and dogs in `with_images`, 20 each."""


def test_seeds_that_see_the_same_images_are_not_more_images() -> None:
    # Each seed is right on 18 of 20 cats and on all dogs; a fifth of the errors are shared.
    hits = np.ones((5, 40))
    hits[:, 0] = 0
    hits[np.arange(5), 2 * np.arange(1, 6)] = 0
    cat, dog = recalls(seen("freeze", 0.1, hits), ("cat", "do\x1bg"))
    assert (cat.name, cat.images, cat.mean) == ("cat", 20, 0.9)
    assert (cat.low, cat.high) == pytest.approx(wilson(0.9, 20))
    assert cat.high - cat.low > 1.9 * (wilson(0.9, 100)[1] - wilson(0.9, 100)[0])
    assert dog.name.isprintable()
    assert (dog.images, dog.mean, dog.high) == (20, 1, 1)
    assert dog.low == pytest.approx(1 / (1 + 1.959964**2 / 20))


def test_seeds_that_differ_count_as_fewer_images() -> None:
    hits = np.ones((3, 40))
    hits[1, EVEN] = hits[2, ODD] = 0
    hits[0, 0] = hits[1, 1] = 0
    for found in recalls(seen("freeze", 0.1, hits), ("cat", "dog")):
        # One of three seeds finds hardly any: nobody knows what the next one does.
        assert (found.low, found.high) == pytest.approx(wilson(found.mean, 1))
    one, _ = recalls(seen("freeze", 0.1, hits[:1]), ("cat", "dog"))
    assert (one.low, one.high) == pytest.approx(wilson(0.95, 20)), "one network has its images"


def test_table_has_a_row_for_each_cell_and_class() -> None:
    hits = np.tile(np.arange(40) >= 10, (3, 1))
    plain = make_confirmed("finetune", 0.1, [0.5, 0.6])
    trials = [*seen("freeze", 0.8, hits), *seen("freeze", 0.1, hits[:2]), *plain]
    table = recall_table(trials, ("cat", "dog"))
    assert list(table) == [
        "mode", "train_ratio", "class", "n", "images", "recall", "low", "high",
    ]  # fmt: skip
    rows = table[["mode", "train_ratio", "class", "n", "images", "recall"]].to_numpy().tolist()
    assert rows == [
        ["freeze", 0.1, "cat", 2, 20, 0.75], ["freeze", 0.1, "dog", 2, 20, 0.75],
        ["freeze", 0.8, "cat", 3, 20, 0.75], ["freeze", 0.8, "dog", 3, 20, 0.75],
    ]  # fmt: skip
    some = with_images(plain, hits[:2])
    some[0] = replace(some[0], images=None)
    assert recalls(some, ("cat", "dog")) == [], "one trial has no outputs"


def test_interval_of_the_worst_of_ten_equal_classes_holds_their_recall() -> None:
    missed = {False: 0, True: 0}
    names, labels = [f"c{k}" for k in range(10)], np.repeat(np.arange(10), 12)
    photos = Photos(5, len(labels), 0.7, own=0.1, seed=0.01)
    for hits in photos.hits(np.random.default_rng(0), 100, np.array([[0.8]]))[:, 0, 0]:
        for together in missed:
            found = recalls(seen("freeze", 0.1, hits, labels=labels), names, together)
            missed[together] += min(found, key=lambda r: r.mean).high < 0.8
    assert missed[True] <= 2
    assert missed[False] > 5


@pytest.mark.integration
def test_known_truth() -> None:
    """Coverage of the true recall in 1000 studies; with n = images x seeds as a control."""
    covered, pooled = [], []
    for seeds, images, shared, accuracy, seed in itertools.product(
        (3, 5), (12, 48, 240), (0.5, 0.9), (0.7, 0.9), (0.01, 0.04)
    ):
        photos = Photos(seeds, 2 * images, shared, own=0.05, seed=seed)
        drawn = photos.hits(np.random.default_rng(0), 200, np.array([[accuracy]]))[:, 0, 0]
        ends = [recalls(seen("freeze", 0.1, hits), ("a", "b")) for hits in drawn]
        covered.append(np.mean([r.low <= accuracy <= r.high for both in ends for r in both]))
        control = [wilson(r.mean, images * seeds) for both in ends for r in both]
        pooled.append(np.mean([low <= accuracy <= high for low, high in control]))
    assert min(covered) >= 0.90
    assert np.mean(covered) >= 0.95
    assert min(pooled) < 0.65
    assert np.mean(pooled) < 0.80
