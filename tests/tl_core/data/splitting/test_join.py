"""Copies and groups, joined."""

from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_core.data.splitting.copies import Copies
from tl_core.data.splitting.join import copy_notes, join_rules
from tl_core.data.splitting.rules import NO_RULES, SplitRules
from tl_core.errors import InputError


def joined(copies: list[int], groups: list[int] | None = None) -> list[int] | None:
    rules = SplitRules(groups=None if groups is None else np.array(groups), by="farm")
    found = join_rules(rules, np.array(copies)).groups
    return None if found is None else found.tolist()


def test_copies_are_groups_and_join_groups() -> None:
    assert joined([0, 1, 2]) is None
    assert joined([0, 1, 2], [5, 5, 6]) == [5, 5, 6]
    assert joined([0, 1, 0, 3]) == [0, 1, 0, 2]
    # Images 0 and 3 are one photo, so the farms 5 and 7 are one group.
    assert joined([0, 1, 2, 0, 4], [5, 5, 6, 7, 7]) == [0, 0, 1, 0, 0]


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.lists(st.integers(0, n - 1), min_size=n, max_size=n),
            st.lists(st.integers(0, n), min_size=n, max_size=n),
        )
    )
)
def test_law_of_joining(both: tuple[list[int], list[int]]) -> None:
    firsts: dict[int, int] = {}
    copies = [firsts.setdefault(photo, i) for i, photo in enumerate(both[0])]
    groups = both[1]
    found = joined(copies, groups) or groups
    n = len(copies)
    pairs = [np.equal.outer(np.array(one), np.array(one)) for one in (copies, groups)]
    reached = np.linalg.matrix_power(np.logical_or(*pairs).astype(float), n) > 0
    assert [[found[i] == found[j] for j in range(n)] for i in range(n)] == reached.tolist()


def test_copies_in_given_parts_stay_in_the_one_that_is_held_out() -> None:
    # Photos: 0 in train, val and test; 1 in train twice; 2 in val and train; 3 alone.
    copies = np.array([0, 0, 0, 3, 3, 5, 5, 7])
    parts = np.array([0, 1, 2, 0, 0, 1, 0, 2], np.int8)
    rules = join_rules(SplitRules(parts), copies)
    assert rules.parts is not None
    assert rules.groups is not None
    assert rules.parts.tolist() == [-1, -1, 2, 0, 0, 1, -1, 2]
    assert rules.parts.dtype == np.int8
    groups = rules.groups
    assert groups[3] == groups[4]
    assert len(set(groups.tolist())) == 7, "unused copies join nothing"
    ids, labels = [f"{i}.jpg" for i in range(8)], np.zeros(8, np.int64)
    *_, unused = copy_notes(Copies(copies, copies), labels, ids, ["cat"], SplitRules(parts), rules)
    assert unused == (
        "3 images of the given training and validation part are not used, as copies of photos in a "
        "part that is held out: 0.jpg, 1.jpg, 6.jpg"
    )
    alone = join_rules(SplitRules(np.array([0, 0, 2], np.int8)), np.array([0, 1, 0]))
    assert alone.groups is None


def test_a_part_of_copies_alone_is_refused() -> None:
    with pytest.raises(
        InputError, match="each image of the given validation part is a copy, or a near"
    ):
        join_rules(SplitRules(np.array([0, 1, 2], np.int8)), np.array([0, 1, 1]))


def test_copies_with_two_labels_are_listed_by_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = Mock(wraps=np.flatnonzero)
    monkeypatch.setattr(np, "flatnonzero", searched)
    n = 40  # Photos: the second half are copies of the first, in the other order.
    copies = np.array([*range(n), *reversed(range(n))])
    labels = np.zeros(2 * n, np.int64)
    labels[[3, n]] = 1  # Of photos 3, whose copy is 76, and 39, whose copy is 40.
    ids = [f"{i}.jpg" for i in range(2 * n)]
    rules = join_rules(NO_RULES, copies)
    exact = Copies(copies, copies)
    found, mixed = copy_notes(exact, labels, ids, ["cat", "dog"], NO_RULES, rules)
    assert found.startswith("40 images are copies of 40 other photos (the same pixels): ")
    assert found.endswith(
        "; 0.jpg and 79.jpg; 1.jpg and 78.jpg; 2.jpg and 77.jpg; 3.jpg and "
        "76.jpg; 4.jpg and 75.jpg; and 35 more"
    )
    assert mixed == (
        "2 photos have copies with two labels, of which one at most is right: "
        "3.jpg (dog) and 76.jpg (cat); 39.jpg (cat) and 40.jpg (dog)"
    )
    assert searched.call_count < n, "the images are not searched for each photo"


@pytest.mark.parametrize(("n", "named"), [
    (5, "0.jpg and 1.jpg and 2.jpg and 3.jpg and 4.jpg"),
    (7, "0.jpg and 1.jpg and 2.jpg and 3.jpg and 4.jpg and 2 more"),
])  # fmt: skip
def test_a_photo_with_many_copies_is_told_by_a_few(n: int, named: str) -> None:
    first, labels = np.zeros(n, np.int64), np.zeros(n, np.int64)
    told = (Copies(first, first), labels, [f"{i}.jpg" for i in range(n)], ["cat"])
    (note,) = copy_notes(*told, NO_RULES, join_rules(NO_RULES, first))
    assert note.endswith(f"in intervals; {named}")


def test_no_copies_no_notes() -> None:
    none = Copies(np.arange(2), np.arange(2))
    assert [*copy_notes(none, np.arange(2), "ab", "ab", NO_RULES, NO_RULES)] == []


def test_near_copies_have_notes_of_their_own() -> None:
    # Photo 0 is twice the same and once re-encoded, with another label; 3 and 4 are resized.
    copies = Copies(np.array([0, 0, 2, 3, 4, 5]), np.array([0, 0, 0, 3, 3, 5]))
    labels, ids = np.array([0, 0, 1, 0, 0, 1]), [f"{i}.jpg" for i in range(6)]
    rules = join_rules(NO_RULES, copies.near)
    assert rules.groups is not None
    assert rules.groups.tolist() == [0, 0, 0, 1, 1, 2]
    assert [*copy_notes(copies, labels, ids, ["cat", "dog"], NO_RULES, rules)] == [
        "1 image is a copy of 1 other photo (the same pixels): copies of a photo stay on one side "
        "of the split, and count as one group in intervals; 0.jpg and 1.jpg",
        "2 images are near copies of 2 other photos (re-encoded or resized): near copies of a "
        "photo stay on one side of the split, and count as one group in intervals; 0.jpg and "
        "2.jpg; 3.jpg and 4.jpg",
        "1 photo has near copies with two labels, of which one at most is right if they are one "
        "photo: 0.jpg (cat) and 2.jpg (dog)",
    ]


def test_a_near_copy_of_a_held_out_photo_is_not_trained_on() -> None:
    copies = Copies(np.arange(4), np.array([0, 1, 0, 3]))
    given = SplitRules(np.array([0, 0, 2, 1], np.int8))
    rules = join_rules(given, copies.near)
    assert rules.parts is not None
    assert rules.parts.tolist() == [-1, 0, 2, 1]
    *_, unused = copy_notes(copies, np.zeros(4, np.int64), "abcd", ["cat"], given, rules)
    assert unused == (
        "1 image of the given training part is not used, as copies or near copies of photos in a "
        "part that is held out: a"
    )
