import numpy as np

from tl_core.data.splitting.balance import balance_note
from tl_core.data.splitting.rules import SplitRules


def test_the_note_tells_sizes_and_the_largest_deviation() -> None:
    labels, groups = np.repeat([0, 1], 300), np.arange(600) // 5
    (note,) = balance_note(labels, SplitRules(groups=groups, by="farm"), (0.1, 0.8))
    assert note == (
        "by whole groups: test 60 images of 12 groups, validation 60 images of 12 groups; train "
        "ratios 0.1 for 0.1, 0.8 for 0.8 with seed 0; each class has its share"
    )
    # Twelve groups of 50, of which one is a part: test can only have one class more than half.
    labels, groups = np.tile(np.repeat([0, 1], [40, 10]), 12), np.repeat(np.arange(12), 50)
    labels[:300] = 1 - labels[:300]
    note, warning = balance_note(labels, SplitRules(groups=groups, by="farm"), (0.3,))
    assert "test 50 images of 1 group, validation 50 images of 1 group" in note
    assert warning.startswith("all test images are of one group, so no interval will be about new")
    assert "train ratios 0.333 for 0.3 with seed 0; the largest deviation " in note
    assert "deviation of a class's share is 30.0 points" in note


def test_no_groups_no_note() -> None:
    labels = np.repeat([0, 1], 30)
    assert balance_note(labels, SplitRules(), (0.1,)) == []
    assert balance_note(labels, SplitRules(groups=np.arange(60) // 2), (0.1,)) == []
