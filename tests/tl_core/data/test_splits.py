from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tl_core.data import splits
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
def test_parts_are_disjoint_and_hold_the_share_of_every_class(
    labels: Labels, ratio: float, split_seed: int, seed: int
) -> None:
    split = make_split(labels, ratio, split_seed, seed)
    train, val, test = parts(split)
    assert parts(make_split(labels, ratio, split_seed, seed)) == (train, val, test)
    assert len(train) + len(val) + len(test) == len(train | val | test)
    assert train | val | test <= set(range(len(labels)))
    for part in (split.train, split.val, split.test):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    for label, n in zip(*np.unique(labels, return_counts=True), strict=True):
        of_class = (labels[part] == label for part in (split.train, split.val, split.test))
        n_train, n_val, n_test = (int(each.sum()) for each in of_class)
        assert n_val == n_test > 0 < n_train
        assert abs(n_val - 0.1 * n) <= 0.5
        # At 0.8 the pool can be an image short, where test and validation were rounded up.
        assert -1 - 1e-6 <= n_train - ratio * n <= 0.5 + 1e-6


@given(labelled(), st.tuples(ratios, ratios).map(sorted), seeds, seeds, seeds)
def test_training_subsets_nest_and_split_seed_alone_decides_what_is_held_out(
    labels: Labels, pair: list[float], split_seed: int, seed: int, other: int
) -> None:
    small, large = (parts(make_split(labels, ratio, split_seed, seed)) for ratio in pair)
    assert small[0] <= large[0]
    assert small[1:] == large[1:] == parts(make_split(labels, pair[0], split_seed, other))[1:]


@pytest.mark.parametrize(("n", "ratio", "sizes"), [
    (10, 0.8, (8, 1, 1)), (10, 0.05, (1, 1, 1)), (15, 0.8, (11, 2, 2)), (100, 0.01, (1, 10, 10)),
    (100, 0.015, (2, 10, 10)), (1000, 0.1, (100, 100, 100)), (3, 0.8, (1, 1, 1)),
])  # fmt: skip
def test_sizes_by_hand(n: int, ratio: float, sizes: tuple[int, int, int]) -> None:
    split = make_split(np.repeat([0, 1], n), ratio)
    assert tuple(len(part) // 2 for part in parts(split)) == sizes


def test_the_smallest_class_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Mock(wraps=smallest_class)
    monkeypatch.setattr(splits, "smallest_class", found)
    assert len(make_split(np.arange(3000) % 300, 0.1).train) == 300
    found.assert_called_once_with(0.1, 2)


@settings(max_examples=40)
@given(st.floats(0.005, 0.8), st.integers(0, 200))
def test_smallest_class_is_exact(ratio: float, more: int) -> None:
    by_hand = {0.8: 3, 0.2: 3, 0.1: 5, 0.05: 10, 0.02: 25, 0.01: 50}
    assert {each: smallest_class(each) for each in by_hand} == by_hand
    n = smallest_class(ratio)
    make_split(np.repeat([0, 1], [n, n + more]), ratio)
    message = rf"class 1 has {n - 1} images; train_ratio .* needs 1 more to have one in training"
    with pytest.raises(InputError, match=message):
        make_split(np.repeat([0, 1], [n + more, n - 1]), ratio)


def test_small_classes_are_told_together_by_name() -> None:
    labels = np.repeat([0, 1, 2], [4, 30, 1])
    assert split_faults(labels, 0.05, ("cat", "dog", "owl")) == [
        "class 'cat' has 4 images; train_ratio 0.05 needs 6 more "
        "to have one in training, validation and test each; the smallest ratio that fits it is "
        "0.125",
        "class 'owl' has 1 image; train_ratio 0.05 needs 9 more "
        "to have one in training, validation and test each",
    ]
    assert split_faults(np.repeat([0, 1], 10), 0.05) == []


@pytest.mark.parametrize("n", range(3, 300))
def test_the_smallest_ratio_that_is_named_fits(n: int) -> None:
    labels = np.repeat([0, 1], [n, 1000])
    (fault,) = split_faults(labels, 0.4 / n)
    smallest = float(fault.rpartition(" ")[2])
    assert split_faults(labels, smallest) == []
    assert split_faults(labels, smallest - 0.001), "a smaller one would be named"


@pytest.mark.parametrize(("values", "message"), [
    ({"train_ratio": 0}, "^train_ratio 0 must be at least 1e-09$"),
    ({"train_ratio": -0.1}, "^train_ratio -0.1 must be at least 1e-09$"),
    ({"train_ratio": 1e-320}, "^train_ratio 9.99989e-321 must be at least 1e-09$"),
    ({"train_ratio": float("nan")}, "^train_ratio nan must be at least 1e-09$"),
    ({"train_ratio": 0.81}, "^train_ratio 0.81 is above 0.8: "),
    ({"seed": -1}, "^seed -1 must be at least 0$"),
    ({"split_seed": -2}, "^split_seed -2 must be at least 0$"),
    ({"train_ratio": 0, "seed": -1}, "^train_ratio 0 must .*\nseed -1 must be at least 0$"),
])  # fmt: skip
def test_a_value_out_of_range_is_told(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_split(np.repeat([0, 1], 100), **{"train_ratio": 0.5} | values)


def test_a_ratio_of_hardly_any_images_is_told_at_once() -> None:
    assert smallest_class(1e-9) == pytest.approx(500_000_000, abs=2)
    (fault,) = split_faults(np.repeat([0], 30), 1e-6)
    assert "has 30 images; train_ratio 1e-06 needs 499970 more to have one in" in fault


def hashes(order: Any, ids: list[str]) -> dict[str, str]:
    part = np.asarray(order)
    return Split(train=part, val=part[:2], test=part[2:]).hashes(ids)


def test_hashes_tell_which_images_and_not_their_order() -> None:
    # The last is how Python names a file whose name on the disk is not valid UTF-8.
    ids = ["cat/1", "cat/2", "dog/1", "\udce9t\udce9"]
    base = hashes([0, 1, 2], ids)
    assert hashes([3, 2, 1], ids[::-1]) == base
    assert hashes([0, 1, 3], ids)["train"] != base["train"]
    assert {name: len(digest) for name, digest in base.items()} == dict.fromkeys(base, 16)
    assert set(base) == {"train", "val", "test"}
