"""What a split of N images keeps to beside shares: the parts that are given, and groups."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from tl_core.data.caching.entries import publish

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
"""A part's number is its place here."""
PART_WORDS: dict[Part, str] = {"train": "training", "val": "validation", "test": "test"}
UNUSED = -1
"""The number of an image that belongs to no part."""
HELD_OUT = 0.1
"""Share of each class in the test set, and again in the validation set, where none is given."""


class PartSizes(NamedTuple):
    """How many images a split has in its parts; about, as classes are drawn one by one."""

    base: int
    """Those that train ratios are shares of."""
    unheld: int
    """Those that are not held out: the most that can be trained on."""
    val: int
    test: int


@dataclass(frozen=True)
class SplitRules:
    """What a split of N images keeps to; without parts and groups each image is drawn alone."""

    parts: np.ndarray | None = field(default=None, repr=False)
    """int8 [N]: the number in `PARTS` of the part that an image was given to, or `UNUSED`. A part
    that no image was given to is drawn from `train`. None if no parts are given."""
    groups: np.ndarray | None = field(default=None, repr=False)
    """int64 [N]: images of one number stay on one side of a split; None if all are on their own."""
    by: str = ""
    """What the groups are called, such as `patient`; empty if they are copies of a photo alone."""

    def drawn(self) -> list[Part]:
        """The held-out parts that are drawn, test first."""
        held_out: list[Part] = ["test", "val"]
        if self.parts is None:
            return held_out
        return [part for part in held_out if not (self.parts == PARTS.index(part)).any()]

    def pool(self, n: int) -> np.ndarray:
        """Indices of the images that training and the drawn parts share, sorted; of all `n`."""
        return np.arange(n) if self.parts is None else np.flatnonzero(self.parts == 0)

    @property
    def largest_ratio(self) -> float:
        """Share of these images that is left for training."""
        return round(1 - HELD_OUT * len(self.drawn()), 6)

    def sizes(self, n: int) -> PartSizes:
        """How many of `n` images the parts have."""
        base, drawn = len(self.pool(n)), self.drawn()
        share = round(HELD_OUT * base)
        held_out: tuple[Part, Part] = "val", "test"
        sizes = (
            share if part in drawn else np.count_nonzero(self.parts == PARTS.index(part))
            for part in held_out
        )
        return PartSizes(base, base - share * len(drawn), *map(int, sizes))

    def is_plain(self) -> bool:
        """Whether they say nothing."""
        return self.parts is None and self.groups is None

    def only(self, rows: Iterable[int]) -> "SplitRules":
        """The rules of some of the images."""
        chosen = np.fromiter(rows, np.int64)
        parts, groups = (None if x is None else x[chosen] for x in (self.parts, self.groups))
        return SplitRules(parts, groups, self.by)


NO_RULES = SplitRules()


def keep_rules(rules: SplitRules, cache: Path, end: float | None = None) -> Path:
    """Write rules into a cache, under a hash of their content; return the entry's path.

    Raises `OutOfTimeError` if another process still writes them at `end`, by `time.monotonic`.
    """
    digest = hashlib.sha256(rules.by.encode())
    for array in (rules.parts, rules.groups):
        digest.update(b"-" if array is None else array.tobytes())

    def build(into: Path) -> None:
        (into / "by.txt").write_text(rules.by, encoding="utf-8")
        for name, array in (("parts", rules.parts), ("groups", rules.groups)):
            if array is not None:
                np.save(into / f"{name}.npy", array)

    entry = cache / "splits" / digest.hexdigest()[:24]
    publish(entry, build, end=end)
    return entry


def open_rules(entry: Path) -> SplitRules:
    """Read what `keep_rules` wrote."""
    files = (entry / f"{name}.npy" for name in ("parts", "groups"))
    parts, groups = (np.load(file) if file.exists() else None for file in files)
    return SplitRules(parts, groups, (entry / "by.txt").read_text(encoding="utf-8"))
