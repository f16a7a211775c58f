"""Splits are those of earlier versions, to the image: studies of these are resumed and replayed."""

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tl_core.data.datasets import ImageSet
from tl_core.data.splits import make_split
from tl_core.data.splitting.join import join_rules
from tl_core.data.splitting.rules import PARTS, UNUSED, SplitRules

N = 6000
PLACES = np.arange(N)
FEW = PLACES * PLACES // 7 % 4  # Classes that are uneven and in a mixed order.
MANY = PLACES * 7919 % 300
RARE = np.where(PLACES % 97 == 5, 4, FEW)
PAIR = np.where(PLACES == 4007, 3, PLACES)
MIXED = PLACES * 31 % 1201
LARGE = PLACES.astype(float) ** 0.5 // 1  # From 1 image to 155 a group.
GIVEN = np.array([0, 0, 0, 0, 1, 0, 2, 0, UNUSED, 0], np.int8)[PLACES * PLACES // 11 % 10]
NO_TEST = np.where(GIVEN == 2, 0, GIVEN)


def by_groups(groups: np.ndarray, parts: np.ndarray | None = None) -> SplitRules:
    return SplitRules(parts, groups.astype(np.int64), "patient")


@pytest.mark.parametrize(("labels", "rules", "kept"), [
    (FEW, SplitRules(), "bc5aee704d25cb44"),
    (MANY, SplitRules(), "bca6080f21fba08a"),
    (RARE, SplitRules(GIVEN), "57972fa5b3c63415"),
    (FEW, SplitRules(NO_TEST), "4a348260132dcb9e"),
    (MANY, by_groups(PLACES[::-1]), "bca6080f21fba08a"),
    (PLACES % 2, join_rules(SplitRules(), PAIR), "3483a0ac13f62356"),
    (MANY, join_rules(SplitRules(), np.where(PLACES == 4203, 3, PLACES)), "88b7ba6d6d70495e"),
    (RARE, by_groups(PLACES // 3), "1c7707f61536344c"),
    (MANY, by_groups(PLACES // 2), "76bba90a3262f91a"),
    (RARE, by_groups(MIXED), "39e26e6db5c37d9c"),
    (FEW, by_groups(LARGE), "d62e9fe37af080ca"),
    (FEW, by_groups(MIXED, GIVEN), "0495d1c4ba5bfd6c"),
    (RARE, by_groups(PLACES // 3, NO_TEST), "256ba66e2fb03782"),
    (FEW, join_rules(SplitRules(NO_TEST), PAIR), "ea6c547ffceda3e5"),
])  # fmt: skip
def test_splits_are_those_of_earlier_versions(
    labels: np.ndarray, rules: SplitRules, kept: str
) -> None:
    digest = hashlib.sha256()
    for ratio, split_seed, seed in ((0.1, 0, 0), (0.1, 0, 1), (0.8, 0, 1), (0.3, 5, 2)):
        split = make_split(labels, ratio, split_seed, seed, rules)
        for name in PARTS:
            digest.update(getattr(split, name).astype("<i8").tobytes() + b"|")
    assert digest.hexdigest()[:16] == kept


def images_of(labels: np.ndarray) -> ImageSet:
    n, classes = len(labels), tuple(map(str, np.unique(labels)))
    pixels, ids = np.zeros((n, 3, 1, 1), np.uint8), tuple(map(str, range(n)))
    brightness = np.zeros(n, np.float32)
    return ImageSet("drawn", "drawn", Path("drawn"), classes, ids, pixels, labels, brightness)


def test_images_keep_their_splits() -> None:
    images = images_of(FEW)
    first = images.split(0.1, 0, 0)
    others = [images.split(*of) for of in ((0.2, 0, 0), (0.1, 1, 0), (0.1, 0, 1))]
    assert images.split(0.1) is first
    assert all(other is not first for other in others)
    grouped = replace(images, rules=by_groups(PLACES // 3)).split(0.1)
    assert grouped.train.tolist() != first.train.tolist(), "other rules, other splits"


def test_the_oldest_split_is_drawn_again() -> None:
    images = images_of(PLACES[:20] % 2)
    first, later = images.split(0.5), [images.split(0.5, seed=seed) for seed in range(1, 257)]
    assert images.split(0.5, seed=256) is later[-1]
    again = images.split(0.5)
    assert again is not first
    assert again.train.tolist() == first.train.tolist()


def test_images_that_were_split_can_be_pickled() -> None:
    images = images_of(FEW)
    train = images.split(0.1).train
    again = pickle.loads(pickle.dumps(images))
    assert (again.split(0.1).train == train).all()
    assert images.split(0.1).train is train
