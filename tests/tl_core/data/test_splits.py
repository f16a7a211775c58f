from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tl_core.data.splits import Split, make_split, smallest_class, split_faults
from tl_core.errors import InputError

Labels = NDArray[np.int64]
ratios = st.floats(0.02, 0.8)
seeds = st.integers(0, 2**31 - 1)


@st.composite
def labelled(draw: st.DrawFn, smallest: int = 40) -> Labels:
    """Labels of two to four classes of 40 to 150 images each, in a mixed order."""
    sizes = draw(st.lists(st.integers(smallest, 150), min_size=2, max_size=4))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(draw(seeds)).permutation(labels)


def parts(split: Split) -> tuple[set[int], set[int], set[int]]:
    return set(split.train.tolist()), set(split.val.tolist()), set(split.test.tolist())


@given(labelled(), ratios, seeds, seeds)
def test_parts_are_disjoint_and_hold_every_class(
    labels: Labels, ratio: float, split_seed: int, seed: int
) -> None:
    split = make_split(labels, ratio, split_seed, seed)
    train, val, test = parts(split)
    assert len(train) + len(val) + len(test) == len(train | val | test) <= len(labels)
    assert train | val | test <= set(range(len(labels)))
    for part in (split.train, split.val, split.test):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
        assert set(labels[part]) == set(labels)


@given(labelled(), ratios, ratios, seeds, st.tuples(seeds, seeds))
def test_what_is_held_out_depends_on_split_seed_alone(
    labels: Labels, r1: float, r2: float, split_seed: int, two: tuple[int, int]
) -> None:
    first, second = (
        make_split(labels, ratio, split_seed, seed)
        for ratio, seed in zip((r1, r2), two, strict=True)
    )
    assert parts(first)[1:] == parts(second)[1:]


@given(labelled(), st.lists(ratios, min_size=2, max_size=2).map(sorted), seeds, seeds)
def test_training_subsets_nest(
    labels: Labels, pair: list[float], split_seed: int, seed: int
) -> None:
    small, large = (make_split(labels, ratio, split_seed, seed) for ratio in pair)
    assert set(small.train.tolist()) <= set(large.train.tolist())


@given(labelled(), ratios, seeds)
def test_each_class_has_its_share(labels: Labels, ratio: float, seed: int) -> None:
    split = make_split(labels, ratio, seed, seed)
    for label, n in zip(*np.unique(labels, return_counts=True), strict=True):
        n_train, n_val, n_test = (
            int((labels[part] == label).sum()) for part in (split.train, split.val, split.test)
        )
        assert n_val == n_test
        assert abs(n_val - 0.1 * n) <= 0.5
        # At 0.8 the pool can be an image short, where test and validation were rounded up.
        assert -1 - 1e-6 <= n_train - ratio * n <= 0.5 + 1e-6


@given(labelled(), ratios, seeds)
def test_the_same_arguments_give_the_same_split(labels: Labels, ratio: float, seed: int) -> None:
    assert parts(make_split(labels, ratio, seed, seed)) == parts(
        make_split(labels, ratio, seed, seed)
    )


def test_seeds_change_what_they_should() -> None:
    labels = np.arange(200) % 2
    base = parts(make_split(labels, 0.2, split_seed=0, seed=0))
    redrawn = parts(make_split(labels, 0.2, split_seed=0, seed=1))
    moved = parts(make_split(labels, 0.2, split_seed=1, seed=0))
    assert base[0] != redrawn[0]
    assert base[1] != moved[1]
    assert base[2] != moved[2]


@pytest.mark.parametrize(
    ("n", "ratio", "sizes"),
    [
        (10, 0.8, (8, 1, 1)),
        (10, 0.05, (1, 1, 1)),
        (15, 0.8, (11, 2, 2)),
        (100, 0.01, (1, 10, 10)),
        (100, 0.015, (2, 10, 10)),
        (1000, 0.1, (100, 100, 100)),
        (3, 0.8, (1, 1, 1)),
    ],
)
def test_sizes_by_hand(n: int, ratio: float, sizes: tuple[int, int, int]) -> None:
    split = make_split(np.repeat([0, 1], n), ratio)
    assert tuple(len(part) // 2 for part in parts(split)) == sizes


@pytest.mark.parametrize(
    ("ratio", "n"), [(0.8, 3), (0.2, 3), (0.1, 5), (0.05, 10), (0.02, 25), (0.01, 50)]
)
def test_smallest_class_by_hand(ratio: float, n: int) -> None:
    assert smallest_class(ratio) == n


@settings(max_examples=40)
@given(st.floats(0.005, 0.8), st.integers(0, 200))
def test_smallest_class_is_exact(ratio: float, more: int) -> None:
    n = smallest_class(ratio)
    make_split(np.repeat([0, 1], [n, n + more]), ratio)
    message = rf"class 1 has {n - 1} images; train_ratio .* needs 1 more to have one in training"
    with pytest.raises(InputError, match=message):
        make_split(np.repeat([0, 1], [n + more, n - 1]), ratio)


def test_small_classes_are_told_together_by_name() -> None:
    labels = np.repeat([0, 1, 2], [4, 30, 1])
    assert split_faults(labels, 0.05, ("cat", "dog", "owl")) == [
        "class 'cat' has 4 images; train_ratio 0.05 needs 6 more "
        "to have one in training, validation and test each",
        "class 'owl' has 1 image; train_ratio 0.05 needs 9 more "
        "to have one in training, validation and test each",
    ]
    assert split_faults(np.repeat([0, 1], 10), 0.05) == []


def hashes(order: Any, ids: list[str]) -> dict[str, str]:
    part = np.asarray(order)
    return Split(train=part, val=part[:2], test=part[2:]).hashes(ids)


def test_hashes_tell_which_images_and_not_their_order() -> None:
    ids = ["cat/1", "cat/2", "dog/1", "dog/2"]
    turned = ids[::-1]
    assert hashes([0, 1, 2], ids) == hashes([3, 2, 1], turned)
    assert hashes([0, 1, 2], ids)["train"] != hashes([0, 1, 3], ids)["train"]
    assert set(hashes([0, 1, 2], ids)) == {"train", "val", "test"}
    assert all(len(digest) == 16 for digest in hashes([0, 1, 2], ids).values())


def test_hashes_take_names_that_are_not_unicode() -> None:
    # So does Python name a file whose name on the disk is not valid UTF-8.
    assert hashes([0, 1, 2], ["\udce9t\udce9", "b", "c"])["train"]
