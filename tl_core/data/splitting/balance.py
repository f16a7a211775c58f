"""How well whole groups could meet the shares of a split."""

from collections.abc import Sequence

import numpy as np

from tl_core.data.splits import make_split
from tl_core.data.splitting.rules import SplitRules
from tl_core.text import pluralize

ONE_GROUP = (
    "all test images are of one group, so no interval will be about new groups, and no mode will "
    "be called better than another; a test set of several groups can be given with --test, or by a "
    "column split"
)
"""The note on a test set that tells nothing of other groups."""
_SAME = 0.0005
"""Deviations below it are shown as 0.0 points."""


def balance_note(
    labels: np.ndarray,
    rules: SplitRules,
    train_ratios: Sequence[float],
    split_seed: int = 0,
    seed: int = 0,
) -> list[str]:
    """Return lines on the split of groups; none if there are only copies of a photo.

    The first one tells the sizes, and the largest deviation of a class's share from its share of
    all images that are shared out. The training subsets of other seeds differ.
    """
    if not rules.by or rules.groups is None:
        return []
    pool = rules.pool(len(labels))
    splits = {ratio: make_split(labels, ratio, split_seed, seed, rules) for ratio in train_ratios}
    one = splits[train_ratios[0]]
    parts = {f"training at {ratio:g}": split.train for ratio, split in splits.items()}
    parts |= {part: getattr(one, part) for part in rules.drawn()}
    whole = np.bincount(labels[pool]) / len(pool)
    away = {
        name: float(abs(np.bincount(labels[part], minlength=len(whole)) / len(part) - whole).max())
        for name, part in parts.items()
    }
    worst = max(away, key=lambda name: away[name])
    taken = ", ".join(
        f"{len(split.train) / len(pool):.3g} for {ratio:g}" for ratio, split in splits.items()
    )
    held = ", ".join(
        f"{name} {pluralize(len(part), 'image')} of {pluralize(_count(rules, part), 'group')}"
        for name, part in (("test", one.test), ("validation", one.val))
    )
    shares = (
        f"the largest deviation of a class's share is {100 * away[worst]:.1f} points, in {worst}"
        if away[worst] >= _SAME
        else "each class has its share"
    )
    note = f"by whole groups: {held}; train ratios {taken} with seed {seed}; {shares}"
    return [note, *([ONE_GROUP] if _count(rules, one.test) == 1 else [])]


def _count(rules: SplitRules, part: np.ndarray) -> int:
    assert rules.groups is not None
    return len(np.unique(rules.groups[part]))
