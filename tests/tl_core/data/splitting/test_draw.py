"""Splits by whole groups."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tl_core.data.splits import Split, far_from_ratio, make_split, split_faults
from tl_core.data.splitting.draw import group_images
from tl_core.data.splitting.rules import PARTS, UNUSED, SplitRules
from tl_core.errors import InputError

seeds = st.integers(0, 2**31 - 1)
ratios = st.sampled_from((0.05, 0.1, 0.3, 0.55, 0.8))


class Images(NamedTuple):
    labels: np.ndarray
    groups: np.ndarray


@st.composite
def grouped(draw: st.DrawFn) -> Images:
    """40 to 90 groups of 1 to 6 images, each of one class or of several, in a mixed order."""
    chance = np.random.default_rng(draw(seeds))
    classes, mixed = draw(st.integers(2, 4)), draw(st.booleans())
    sizes = chance.integers(1, draw(st.integers(2, 7)), draw(st.integers(40, 90)))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.arange(len(sizes))[groups] % classes
    if mixed:
        labels = np.where(chance.random(len(labels)) < 0.3, chance.integers(classes), labels)
    order = chance.permutation(len(labels))
    return Images(labels[order], chance.permutation(10 * len(sizes))[groups[order]])


def parts(split: Split) -> dict[str, set[int]]:
    return {name: set(getattr(split, name).tolist()) for name in PARTS}


def as_version_0_1(labels: np.ndarray, ratio: float, split_seed: int, seed: int) -> Split:
    """The split of earlier versions, whose studies are replayed."""
    held, order = np.random.default_rng([split_seed, 0]), np.random.default_rng([seed, 1])
    found: dict[str, list[np.ndarray]] = {name: [] for name in PARTS}
    for label in np.unique(labels):
        members = held.permutation(np.flatnonzero(labels == label))
        n = max(1, int(0.1 * len(members) + 0.5 + 1e-9))
        n_train = min(int(ratio * len(members) + 0.5 + 1e-9), len(members) - 2 * n)
        found["test"].append(members[:n])
        found["val"].append(members[n : 2 * n])
        found["train"].append(order.permutation(np.sort(members[2 * n :]))[:n_train])
    return Split(**{name: np.sort(np.concatenate(part)) for name, part in found.items()})


@given(grouped(), ratios, seeds, seeds, st.booleans())
def test_images_on_their_own_are_split_as_ever(
    images: Images, ratio: float, split_seed: int, seed: int, numbered: bool
) -> None:
    n = len(images.labels)
    rules = SplitRules(groups=np.random.default_rng(seed).permutation(n) if numbered else None)
    split = make_split(images.labels, ratio, split_seed, seed, rules)
    assert parts(split) == parts(as_version_0_1(images.labels, ratio, split_seed, seed))


@settings(max_examples=40)
@given(grouped(), st.tuples(ratios, ratios).map(sorted), seeds, seeds, seeds)
def test_no_group_is_on_two_sides_in_any_seed(
    images: Images, pair: list[float], split_seed: int, seed: int, other: int
) -> None:
    labels, rules = images.labels, SplitRules(groups=images.groups, by="patient")
    assume(not split_faults(labels, pair[0], rules=rules, split_seed=split_seed))
    small, large = (make_split(labels, ratio, split_seed, seed, rules) for ratio in pair)
    again = make_split(labels, pair[0], split_seed, other, rules)
    for split in (small, large, again):
        sides = [set(images.groups[getattr(split, name)].tolist()) for name in PARTS]
        assert sum(map(len, sides)) == len(set.union(*sides))
        for name in PARTS:
            assert set(labels[getattr(split, name)]) == set(labels)
            assert (np.diff(getattr(split, name)) > 0).all()
        whole = np.isin(images.groups, images.groups[split.train])
        assert whole.sum() == len(split.train), "training subsets are made of whole groups"
    assert parts(small)["train"] <= parts(large)["train"]
    assert parts(small)["test"] == parts(large)["test"] == parts(again)["test"]
    assert parts(small)["val"] == parts(again)["val"]


@settings(max_examples=40)
@given(grouped(), ratios, seeds)
def test_shares_are_met_to_about_a_group(images: Images, ratio: float, seed: int) -> None:
    labels, rules = images.labels, SplitRules(groups=images.groups)
    assume(not split_faults(labels, ratio, rules=rules))
    split, n = make_split(labels, ratio, 0, seed, rules), len(labels)
    largest, classes = np.unique(images.groups, return_counts=True)[1].max(), labels.max() + 1
    for part, share in ((split.test, 0.1), (split.val, 0.1), (split.train, ratio)):
        # One group of each class has to be in every part, and the pool may be a group short.
        assert abs(len(part) - share * n) <= max(2, classes) * largest
        of_class = np.bincount(labels[part], minlength=classes)
        assert (abs(of_class - share * np.bincount(labels)) <= (1 + classes) * largest).all()


def test_groups_of_one_class_are_drawn_to_the_group() -> None:
    # 60 groups of 5 in each of two classes: 6 are 10 %, and 18 are 30 %.
    labels, groups = np.repeat([0, 1], 300), np.arange(600) // 5
    for seed in range(5):
        split = make_split(labels, 0.3, seed, seed, SplitRules(groups=groups))
        counts = {name: np.bincount(labels[getattr(split, name)]).tolist() for name in PARTS}
        assert counts == {"train": [90, 90], "val": [30, 30], "test": [30, 30]}


def test_a_group_counts_for_its_rarest_class() -> None:
    # Class 1 is in group 7 alone, class 0 in all.
    found = group_images(np.array([0, 0, 1, 0, 0]), np.array([9, 7, 7, 3, 9]))
    assert found.of.tolist() == [0, 1, 1, 2, 0]
    assert found.sizes.tolist() == [2, 2, 1]
    assert found.strata.tolist() == [0, 1, 0]
    assert found.members(np.array([2, 0])).tolist() == [0, 3, 4]


def rules_of(*counts: int) -> tuple[np.ndarray, SplitRules]:
    """Two classes of each part, so many images of each: train, val, test."""
    sizes = np.repeat(counts, 2)
    place = np.repeat(np.repeat(np.arange(3), 2), sizes)
    return np.repeat([0, 1] * 3, sizes), SplitRules(place.astype(np.int8))


def test_given_parts_are_used_as_they_are() -> None:
    labels, rules = rules_of(20, 4, 6)
    split = make_split(labels, 0.25, 7, 3, rules)
    assert split.val.tolist() == list(range(40, 48))
    assert split.test.tolist() == list(range(48, 60))
    assert np.bincount(labels[split.train]).tolist() == [5, 5]
    whole = make_split(labels, 1.0, rules=rules)
    assert whole.train.tolist() == list(range(40))
    assert rules.largest_ratio == 1
    assert set(split.train) < set(make_split(labels, 0.5, 7, 3, rules).train) < set(range(40))


@settings(max_examples=40)
@given(grouped(), st.tuples(ratios, ratios).map(sorted), seeds, seeds)
def test_groups_of_a_complete_given_split_are_drawn_from_its_training_part(
    images: Images, pair: list[float], seed: int, other: int
) -> None:
    n, held = len(images.labels), np.tile(images.labels, 2)
    labels = np.concatenate([images.labels, held])
    groups = np.concatenate([images.groups, images.groups.max() + 1 + np.arange(2 * n)])
    rules = SplitRules(np.repeat([0, 1, 2], n).astype(np.int8), groups, "patient")
    assume(not split_faults(labels, pair[0], rules=rules))
    small, large = (make_split(labels, ratio, 0, seed, rules) for ratio in pair)
    assert (small.val.tolist(), small.test.tolist()) == ([*range(n, 2 * n)], [*range(2 * n, 3 * n)])
    for split in (small, large, make_split(labels, pair[0], 0, other, rules)):
        whole = np.isin(groups, groups[split.train])
        assert np.flatnonzero(whole).tolist() == split.train.tolist()
        assert set(labels[split.train]) == set(labels)
    assert parts(small)["train"] <= parts(large)["train"]
    assert make_split(labels, 1.0, 0, seed, rules).train.tolist() == [*range(n)]
    assert [*far_from_ratio(labels, 1.0, rules, [seed])] == []


@pytest.mark.parametrize(
    ("counts", "missing", "largest"), [((20, 0, 6), "val", 0.9), ((20, 6, 0), "test", 0.9)]
)
def test_a_missing_part_is_taken_from_training(
    counts: tuple[int, int, int], missing: str, largest: float
) -> None:
    labels, rules = rules_of(*counts)
    split = make_split(labels, largest, 1, 0, rules)
    assert rules.drawn() == [missing]
    assert rules.largest_ratio == largest
    assert np.bincount(labels[getattr(split, missing)]).tolist() == [2, 2]
    assert sorted([*split.train, *getattr(split, missing)]) == list(range(40))
    other = make_split(labels, 0.1, 2, 0, rules)
    assert parts(other)[missing] != parts(split)[missing], "--split-seed draws it"


@pytest.mark.parametrize("counts", [(20, 4, 6), (20, 0, 6), (20, 6, 0), (30, 0, 0)])
def test_sizes_are_those_of_the_parts(counts: tuple[int, int, int]) -> None:
    labels, rules = rules_of(*counts)
    split = make_split(labels, rules.largest_ratio, rules=rules)
    found = len(split.train), len(split.val), len(split.test)
    base, unheld, val, test = rules.sizes(len(labels))
    assert (unheld, val, test) == found
    assert base == len(rules.pool(len(labels))) == 2 * counts[0]


def test_images_of_no_part_are_not_used() -> None:
    labels, rules = rules_of(20, 4, 6)
    assert rules.parts is not None
    rules.parts[[0, 45, 50]] = UNUSED
    used = parts(make_split(labels, 1.0, rules=rules))
    assert not {0, 45, 50} & (used["train"] | used["val"] | used["test"])
    assert rules.sizes(len(labels)) == (39, 39, 7, 11)


@pytest.mark.parametrize(("ratio", "faults"), [
    (0.95, ["train_ratio 0.95 is above 0.9: validation takes 0.1 of the images"]),
    (0.01, ["class 'cat' has 20 images in the training part; train_ratio 0.01 needs 30 more to "
            "have one in training and validation each; the smallest ratio that fits it is 0.025"]),
])  # fmt: skip
def test_ratios_that_do_not_fit_given_parts(ratio: float, faults: list[str]) -> None:
    labels, rules = rules_of(20, 0, 6)
    assert split_faults(labels, ratio, ("cat", "dog"), rules)[:1] == faults
    with pytest.raises(InputError, match="train_ratio"):
        make_split(labels, ratio, rules=rules)


def test_classes_that_a_given_part_lacks_are_listed() -> None:
    labels, rules = rules_of(20, 4, 6)
    labels[labels == 1] = np.array([2] * 20 + [1] * 4 + [2] * 6)
    assert split_faults(labels, 0.5, ("cat", "cow", "dog"), rules) == [
        f"class {what} part; add some, or leave this class out"
        for what in (
            "'cow' has no image in the given training",
            "'dog' has no image in the given validation",
            "'cow' has no image in the given test",
        )
    ]
    with pytest.raises(InputError, match="class 'cow' has no image in the given training part"):
        make_split(labels, 0.5, rules=rules, classes=("cat", "cow", "dog"))


def test_faults_of_groups() -> None:
    labels = np.repeat([0, 1], [200, 200])
    few = SplitRules(groups=np.r_[np.zeros(200), np.arange(1, 201)].astype(np.int64), by="farm")
    assert split_faults(labels, 0.1, ("cat", "dog"), few) == [
        "class 'cat' would have no validation and no training image: its images are in 1 group "
        "(farm), and each part takes whole ones; add groups of this class, or leave it out"
    ]
    tens = SplitRules(groups=np.arange(400) // 10, by="farm")
    assert split_faults(labels, 0.02, ("cat", "dog"), tens) == [
        f"train_ratio 0.02 is 4 images of class '{name}', less than half of what a group has of it "
        "(farm: 10.0 on average); the smallest ratio that fits is 0.025"
        for name in ("cat", "dog")
    ]
    assert split_faults(labels, 0.025, rules=tens) == []


def test_a_group_that_leaves_no_subset_near_its_ratio() -> None:
    labels = np.arange(60) % 2
    groups = np.where(np.arange(60) % 10 < 7, 100, np.arange(60))  # One group of 42 images.
    rules = SplitRules(groups=groups, by="place")
    assert [*far_from_ratio(labels, 0.4, rules, seeds=range(5))] == [
        "train_ratio 0.4 is 24 images, but whole groups (place) give 6 with seed 4: the largest "
        "group has 42 of 60 images; leave this ratio out, or divide that group"
    ]
    assert [*far_from_ratio(labels, 0.4, rules, seeds=range(4))] == []
    assert [*far_from_ratio(labels, 0.7, rules, seeds=range(5))] == []
    assert [*far_from_ratio(labels, 0.4, SplitRules(), seeds=range(5))] == []
