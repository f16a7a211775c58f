"""The labels of the auxiliary task: kept in the cache, and enough of them in each part."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tl_core.aux_task import AuxOn, AuxTask
from tl_core.data.caching.entries import publish
from tl_core.data.splits import Split, make_split
from tl_core.data.splitting.rules import PART_WORDS, Part, SplitRules

FEWEST = 2
"""Known values in each part: one does not vary."""


@dataclass(frozen=True)
class AuxLabels:
    """The auxiliary task, and its target for each of N images."""

    task: AuxTask
    values: np.ndarray = field(repr=False)
    """Of numbers float32 [N], NaN where missing; of classes int64 [N], -1 where missing."""

    @property
    def known(self) -> np.ndarray:
        """Which images have a value, bool [N]."""
        found = ~np.isnan(self.values) if self.task.kind == "regression" else self.values >= 0
        return np.asarray(found)

    def only(self, rows: np.ndarray) -> "AuxLabels":
        """The labels of some of the images."""
        return AuxLabels(self.task, self.values[rows])

    def teaching(self, on: AuxOn, split: Split, rules: SplitRules) -> np.ndarray:
        """Images that teach the task, sorted.

        Args:
            on: those with a class label in the training subset, or the whole training part.
            split: of the images.
            rules: by which they are split.
        """
        there = split.train
        if on == "all":
            there = np.setdiff1d(rules.pool(len(self.values)), [*split.val, *split.test])
        taught: np.ndarray = there[self.known[there]]
        return taught

    def about(self) -> dict[str, Any]:
        """What study.json says of them; a change of a column's labels changes it."""
        own = {} if self.task.of_pixels else {"digest": self.digest}
        about = {"name": self.task.name, "kind": self.task.kind}
        classes = list(self.task.classes)
        return {**about, "classes": classes, "images": int(self.known.sum()), **own}

    @property
    def digest(self) -> str:
        """A hash of all of it."""
        about = json.dumps(asdict(self.task)).encode()
        return hashlib.sha256(about + self.values.tobytes()).hexdigest()[:24]


def keep_aux(labels: AuxLabels, cache: Path, end: float | None = None) -> Path:
    """Write labels into a cache, under a hash of their content; return the entry's path.

    Raises `OutOfTimeError` if another process still writes them at `end`, by `time.monotonic`.
    """

    def build(into: Path) -> None:
        (into / "task.json").write_text(json.dumps(asdict(labels.task)), encoding="utf-8")
        np.save(into / "values.npy", labels.values)

    entry = cache / "aux" / labels.digest
    publish(entry, build, end=end)
    return entry


def open_aux(entry: Path) -> AuxLabels:
    """Read what `keep_aux` wrote."""
    about = json.loads((entry / "task.json").read_text(encoding="utf-8"))
    task = AuxTask(about["name"], about["kind"], tuple(about["classes"]))
    return AuxLabels(task, np.load(entry / "values.npy"))


def aux_faults(
    labels: np.ndarray,
    aux: AuxLabels,
    rules: SplitRules,
    on: AuxOn,
    train_ratio: float,
    split_seed: int,
    seeds: Iterable[int],
) -> Iterator[str]:
    """Yield a sentence for each part with too few auxiliary labels to learn or to measure.

    Args:
        labels: of the classes, int64 [N].
        aux: the auxiliary ones.
        rules: of the split.
        on: which images teach the task.
        train_ratio: the smallest.
        split_seed: draws validation and test.
        seeds: draw the training subset.
    """
    if aux.task.kind == "none":
        return
    drawn = list(seeds)
    for seed in drawn:
        split = make_split(labels, train_ratio, split_seed, seed, rules)
        parts: dict[Part, np.ndarray] = {"val": split.val, "test": split.test}
        if seed != drawn[0]:
            parts = {}  # They are the same for all seeds.
        teaching = aux.teaching(on, split, rules)
        for part, rows in (*parts.items(), ("train", teaching)):
            if len(np.unique(aux.values[rows[aux.known[rows]]])) < FEWEST:
                where = f"{PART_WORDS[part]} images"
                if part == "train":
                    where += f" at ratio {train_ratio:g}" if on == "labelled" else ""
                more = "; --aux-on all takes more" if (part, on) == ("train", "labelled") else ""
                yield (
                    f"{aux.task.shown}: the {where} need {FEWEST} different values or more, and "
                    f"those that have one are {int(aux.known[rows].sum())} of {len(rows)}{more}"
                )
                return
