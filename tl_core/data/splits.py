"""Stratified splits: test and validation are fixed, training subsets are nested.

Test and validation hold 10 % of every class each. They depend on `split_seed` and on the order of
the images, which is that of their names in a folder and of the rows in a table. The rest is the
pool: `seed` orders each class of it, and a training subset takes the first `train_ratio * n_class`
images of each. So within a seed the subset at 0.1 is part of the one at 0.2, and all modes see the
same images. Parts that are given are used as they are: then ratios are shares of the given training
part, of which a part that is not given takes 10 %. Groups stay on one side, and training
subsets are made of whole groups (`tl_core.data.splitting`).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tl_core.data.splitting.draw import (
    Groups,
    draw_held_out,
    draw_training,
    group_images,
    held_out_of,
    round_half_up,
)
from tl_core.data.splitting.rules import HELD_OUT as HELD_OUT
from tl_core.data.splitting.rules import NO_RULES, PART_WORDS, PARTS, SplitRules
from tl_core.errors import InputError, truncate_list
from tl_core.text import pluralize, printable

_SMALLEST_RATIO = 1e-9


@dataclass(frozen=True)
class Split:
    """Indices into an ImageSet, each int64 and sorted; no index is in two of them."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    def hashes(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the content hash of each part: the ids of its images, in any order."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: _hash_ids(ids[i] for i in part) for name, part in parts.items()}


def make_split(
    labels: np.ndarray,
    train_ratio: float,
    split_seed: int = 0,
    seed: int = 0,
    rules: SplitRules = NO_RULES,
    classes: Sequence[str] | None = None,
) -> Split:
    """Split N images.

    Args:
        labels: int64 [N], every class from 0 to K - 1 at least once.
        train_ratio: training images as a share of all N, up to 0.8; of the given training part
            if there is one, up to `rules.largest_ratio`.
        split_seed: draws test and validation.
        seed: draws the order in which images of the pool become training images.
        rules: parts that are given, and groups.
        classes: their names, for errors.

    Raises:
        InputError: a value is out of range, or a class would be missing from one of the three
            parts; says how many images are missing.
    """
    if faults := split_faults(labels, train_ratio, classes, rules, split_seed, seed):
        raise InputError(faults)
    pool, groups = _pool(labels, rules)
    *held, left = draw_held_out(groups, len(rules.drawn()), split_seed)
    found = dict(zip(rules.drawn(), held, strict=True))
    parts = {name: pool[groups.members(part)] for name, part in found.items()}
    if rules.parts is not None:
        given = [(i, name) for i, name in enumerate(PARTS) if name not in found]
        parts = {name: np.flatnonzero(rules.parts == i) for i, name in given} | parts
    parts["train"] = pool[groups.members(draw_training(groups, left, train_ratio, seed))]
    return Split(**parts)


def split_faults(
    labels: np.ndarray,
    train_ratio: float,
    classes: Sequence[str] | None = None,
    rules: SplitRules = NO_RULES,
    split_seed: int = 0,
    seed: int = 0,
) -> list[str]:
    """Say what is out of range, else for each class that is too small how many images it lacks."""
    if wrong := [*_out_of_range(train_ratio, rules, split_seed=split_seed, seed=seed)]:
        return wrong
    faults = [*absent_classes(labels, classes, rules)]
    pool, groups = _pool(labels, rules)
    few = [*_too_few(labels[pool], train_ratio, classes, rules)]
    if not few and not faults and not groups.single:
        few = [*_without_groups(groups, classes, rules, split_seed)]
        few = few or [*_less_than_groups(groups, train_ratio, classes, rules)]
    return [*faults, *truncate_list(few)]


def far_from_ratio(
    labels: np.ndarray,
    train_ratio: float,
    rules: SplitRules,
    seeds: Iterable[int],
    split_seed: int = 0,
) -> Iterator[str]:
    """Say if large groups make a seed's subset less than half, or more than twice, as large."""
    pool, groups = _pool(labels, rules)
    wanted = round_half_up(train_ratio * len(pool))
    # A part is off by half a group, or has one of each class: not far, where these are small.
    if groups.single or 8 * groups.n_classes * groups.sizes.max() <= wanted:
        return
    *_, left = draw_held_out(groups, len(rules.drawn()), split_seed)
    for seed in seeds:
        got = len(groups.members(draw_training(groups, left, train_ratio, seed)))
        if not wanted / 2 <= got <= 2 * wanted:
            yield (
                f"train_ratio {train_ratio:g} is {pluralize(wanted, 'image')}, but whole groups "
                f"({_kind(rules)}) give {got:,} with seed {seed}: the largest group has "
                f"{int(groups.sizes.max()):,} of {len(pool):,} images; leave this ratio out, or "
                "divide that group"
            )
            return


def _pool(labels: np.ndarray, rules: SplitRules) -> tuple[np.ndarray, Groups]:
    """The images that training and the drawn parts share, and their groups."""
    pool = rules.pool(len(labels))
    return pool, group_images(labels[pool], None if rules.groups is None else rules.groups[pool])


def _out_of_range(train_ratio: float, rules: SplitRules, **seeds: int) -> Iterator[str]:
    if train_ratio > rules.largest_ratio:
        yield too_large(train_ratio, rules)
    elif not train_ratio >= _SMALLEST_RATIO:  # Nor is NaN.
        yield f"train_ratio {train_ratio:g} must be at least {_SMALLEST_RATIO:g}"
    yield from (f"{name} {value} must be at least 0" for name, value in seeds.items() if value < 0)


def too_large(train_ratio: float, rules: SplitRules = NO_RULES) -> str:
    """Say why a ratio above `rules.largest_ratio` leaves too few images to hold out."""
    drawn = " and ".join(PART_WORDS[part] for part in reversed(rules.drawn()))
    takes = "takes" if len(rules.drawn()) == 1 else "each take"
    return (
        f"train_ratio {train_ratio:g} is above {rules.largest_ratio:g}: {drawn} {takes} "
        f"{HELD_OUT:g} of the images"
    )


def absent_classes(
    labels: np.ndarray, classes: Sequence[str] | None, rules: SplitRules
) -> Iterator[str]:
    """Yield a sentence for each class that a given part lacks, whatever the ratio."""
    if rules.parts is None:
        return
    drawn = rules.drawn()
    faults = [
        f"class {_name(label, classes)} has no image in the given {PART_WORDS[part]} part; add "
        "some, or leave this class out"
        for number, part in enumerate(PARTS)
        if part not in drawn
        for label in np.setdiff1d(labels, labels[rules.parts == number])
    ]
    yield from truncate_list(faults)


def _too_few(
    labels: np.ndarray, train_ratio: float, classes: Sequence[str] | None, rules: SplitRules
) -> Iterator[str]:
    *first, last = ["training", *(PART_WORDS[part] for part in reversed(rules.drawn()))]
    parts = f"{', '.join(first)} and {last} each" if first else last
    where = "" if rules.parts is None else " in the training part"
    smallest = smallest_class(train_ratio, len(rules.drawn()))
    for label, n in enumerate(np.bincount(labels).tolist()):
        if 0 < n < smallest:
            yield (
                f"class {_name(label, classes)} has {pluralize(n, 'image')}{where}; "
                f"train_ratio {train_ratio:g} needs {smallest - n} more to have one in {parts}"
                f"{_ratio_hint(n, rules)}"
            )


def _ratio_hint(n: int, rules: SplitRules) -> str:
    """Which ratios a class of `n` images is enough for, if there are any."""
    smallest = np.ceil(1000 * 0.5 / n) / 1000  # From half an image on, there is one.
    if smallest > rules.largest_ratio or smallest_class(smallest, len(rules.drawn())) > n:
        return ""
    return f"; the smallest ratio that fits it is {smallest:g}"


def _without_groups(
    groups: Groups, classes: Sequence[str] | None, rules: SplitRules, split_seed: int
) -> Iterator[str]:
    """Classes that have no whole group for a part."""
    counts = groups.counts(draw_held_out(groups, len(rules.drawn()), split_seed))
    for label, n in enumerate(np.bincount(groups.pairs.label).tolist()):
        found = zip([*rules.drawn(), "train"], counts[:, label], strict=True)
        parts = [f"no {PART_WORDS[part]}" for part, images in found if not images]
        if n and parts:
            yield (
                f"class {_name(label, classes)} would have {' and '.join(parts)} image: its images "
                f"are in {pluralize(n, 'group')} ({_kind(rules)}), and each part takes whole ones; "
                "add groups of this class, or leave it out"
            )


def _less_than_groups(
    groups: Groups, train_ratio: float, classes: Sequence[str] | None, rules: SplitRules
) -> Iterator[str]:
    """Classes of which a training subset is to have less than half of what a group has."""
    sizes, spread = np.bincount(groups.labels).tolist(), np.bincount(groups.pairs.label).tolist()
    for label in np.flatnonzero(sizes).tolist():
        images, of_one = sizes[label], sizes[label] / spread[label]
        wanted, least = round_half_up(train_ratio * images), max(1.0, of_one / 2)
        if wanted < least:
            yield (
                f"train_ratio {train_ratio:g} is {pluralize(wanted, 'image')} of class "
                f"{_name(label, classes)}, less than half of what a group "
                f"has of it ({_kind(rules)}: {of_one:.1f} on average); the smallest ratio that "
                f"fits is {np.ceil(1000 * least / images) / 1000:g}"
            )


def _name(label: int, classes: Sequence[str] | None) -> str:
    return repr(classes[label] if classes else int(label))


def _kind(rules: SplitRules) -> str:
    return printable(rules.by) or "copies of a photo"


def smallest_class(train_ratio: float, parts: int = 2) -> int:
    """Return the fewest images with which a class is in every part at this ratio.

    `parts` are those that are drawn beside training.
    """
    n = max(1 + parts, int((0.5 - 1e-8) / train_ratio))  # Of fewer, training has none.
    while min(round_half_up(train_ratio * n), n - parts * held_out_of(n)) < 1:
        n += 1
    return n


def _hash_ids(ids: Iterable[str]) -> str:
    # A file's name need not be valid UTF-8; Python holds other bytes as surrogates.
    joined = "\n".join(sorted(ids)).encode(errors="surrogateescape")
    return hashlib.sha256(joined).hexdigest()[:16]
