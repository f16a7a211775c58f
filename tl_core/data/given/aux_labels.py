"""The labels of the auxiliary task: of a manifest's column, or none."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_core.aux_task import (
    BRIGHTNESS,
    BUILT_IN_TASKS,
    NO_TASK,
    TAKEN,
    AuxKind,
    AuxOn,
    AuxTask,
)
from tl_core.data.cache import publish
from tl_core.data.splits import make_split
from tl_core.data.splitting.rules import PART_WORDS, Part, SplitRules
from tl_core.errors import Fault, InputError, truncate_list
from tl_core.text import pluralize, printable

if TYPE_CHECKING:
    from tl_core.data.sources import Source

_NO_NUMBER = {"", "na", "nan", "n/a", "null"}
"""Cells of a column of numbers that hold none, in lower case."""
_MEANINGS = {
    "label": "this column is the class, which is learned in any case",
    "path": "this column names the images",
    "split": "this column is the split",
}
"""Columns of a manifest that have a meaning of their own, and can't be a task."""
_FEWEST = 2
"""Known values in each part: one does not vary."""


@dataclass(frozen=True)
class AuxLabels:
    """The auxiliary task, and its target for each of N images."""

    task: AuxTask
    values: np.ndarray
    """Of numbers float32 [N], NaN where missing; of classes int64 [N], -1 where missing."""

    @property
    def known(self) -> np.ndarray:
        """Which images have a value, bool [N]."""
        found = ~np.isnan(self.values) if self.task.kind == "regression" else self.values >= 0
        return np.asarray(found)

    def only(self, rows: np.ndarray) -> "AuxLabels":
        """The labels of some of the images."""
        return AuxLabels(self.task, self.values[rows])

    def teaching(self, on: AuxOn, train: np.ndarray, pool: np.ndarray) -> np.ndarray:
        """Images that teach the task, sorted.

        Args:
            on: which do.
            train: those with a class label in a training subset.
            pool: those of the whole training part.
        """
        there = np.union1d(train, pool) if on == "all" else train
        return np.sort(there[self.known[there]])

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


def keep_aux(labels: AuxLabels, cache: Path) -> Path:
    """Write labels into a cache, under a hash of their content; return the entry's path."""

    def build(into: Path) -> None:
        (into / "task.json").write_text(json.dumps(asdict(labels.task)), encoding="utf-8")
        np.save(into / "values.npy", labels.values)

    entry = cache / "aux" / labels.digest
    publish(entry, build)
    return entry


def open_aux(entry: Path) -> AuxLabels:
    """Read what `keep_aux` wrote."""
    about = json.loads((entry / "task.json").read_text(encoding="utf-8"))
    task = AuxTask(about["name"], about["kind"], tuple(about["classes"]))
    return AuxLabels(task, np.load(entry / "values.npy"))


def _is_taken(name: str) -> bool:
    return name in BUILT_IN_TASKS or TAKEN.fullmatch(name) is not None


def label_aux(source: "Source", column: str, kind: AuxKind | None = None) -> "Source":
    """Give the images their auxiliary labels: `brightness` and `none`, or a manifest's column.

    Args:
        source: the images.
        column: its name.
        kind: what its cells are. None to go by them: text is classes, and so are two different
            numbers; more are a number to predict.

    Raises:
        InputError: there is no such column, or it can't be learned as what it is said to be.
    """
    if column == BRIGHTNESS.name:
        return source
    if column == NO_TASK.name:
        labels = AuxLabels(NO_TASK, np.full(len(source.ids), -1, np.int64))
        return replace(source, aux=labels)
    if not source.columns:
        why = "names a column of a manifest (--data photos.csv); without one, brightness or none"
        raise InputError([Fault("--aux", f"{column}: {why}")])
    usable = [name for name in source.columns if not _is_taken(name)]
    if column not in usable:
        taken = "outputs of a study have this name already; rename the column"
        known = column in source.columns
        what = _MEANINGS.get(column, taken) if known else "no such column"
        names = ", ".join(map(printable, ("brightness", "none", *usable)))
        raise InputError([Fault("--aux", f"{printable(column)}: {what}; valid are {names}")])
    cells = source.columns[column]
    try:
        labels = _numbers(column, cells) if _is_regression(cells, kind) else _classes(column, cells)
    except ValueError as error:
        raise InputError([Fault("--aux", f"{printable(column)}: {error}")]) from error
    return replace(source, aux=labels, notes=(*source.notes, _note(labels, kind)))


def _is_regression(cells: Sequence[str], kind: AuxKind | None) -> bool:
    if kind:
        return kind == "regression"
    there = [cell for cell in cells if cell.lower() not in _NO_NUMBER]
    numbers = {_number(cell) for cell in there}
    return bool(there) and None not in numbers and len(numbers) > 2


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(column: str, cells: Sequence[str]) -> AuxLabels:
    found = [None if cell.lower() in _NO_NUMBER else _number(cell) for cell in cells]
    wrong = [
        cell
        for cell, value in zip(cells, found, strict=True)
        if value is None and cell.lower() not in _NO_NUMBER
    ]
    if wrong:
        shown = ", ".join(truncate_list((repr(cell) for cell in dict.fromkeys(wrong)), 3))
        raise ValueError(
            f"--aux-type regression needs finite numbers or empty cells, but "
            f"{pluralize(len(wrong), 'cell is', 'cells are')} not: {shown}"
        )
    values = np.array([math.nan if value is None else value for value in found], np.float32)
    _check_variety(Counter(value for value in found if value is not None))
    return AuxLabels(AuxTask(column, "regression"), values)


def _classes(column: str, cells: Sequence[str]) -> AuxLabels:
    counts = Counter(cell for cell in cells if cell)
    _check_variety(counts)
    n = sum(counts.values())
    if 2 * len(counts) > n:
        raise ValueError(
            f"{pluralize(len(counts), 'class', 'classes')} for {pluralize(n, 'image')}: a class "
            "needs two images on average; if these are numbers, use --aux-type regression"
        )
    classes = tuple(sorted(counts))
    number = {name: i for i, name in enumerate(classes)}
    values = np.array([number.get(cell, -1) for cell in cells], np.int64)
    return AuxLabels(AuxTask(column, "classification", classes), values)


def _check_variety(counts: Mapping[Any, int]) -> None:
    if len(counts) < _FEWEST:
        found = f"all are {next(iter(counts))!r}" if counts else "all cells are empty"
        raise ValueError(f"a task needs two different values or more; {found}")


def _note(labels: AuxLabels, kind: AuxKind | None) -> str:
    n, known, task = len(labels.values), int(labels.known.sum()), labels.task
    what = "a number"
    if task.kind == "classification":
        what = f"one of {len(task.classes)} classes"
    other = "regression" if task.kind == "classification" else "classification"
    by = "" if kind else f" (by its cells; --aux-type {other} for the other)"
    return f"auxiliary task {task.shown}: {what}{by}; {known:,} of {n:,} images have a value"


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
    pool, drawn = rules.pool(len(labels)), list(seeds)
    for seed in drawn:
        split = make_split(labels, train_ratio, split_seed, seed, rules)
        rest = np.setdiff1d(pool, [*split.val, *split.test])
        parts: dict[Part, np.ndarray] = {"val": split.val, "test": split.test}
        if seed != drawn[0]:
            parts = {}  # They are the same for all seeds.
        teaching = aux.teaching(on, split.train, rest)
        for part, rows in (*parts.items(), ("train", teaching)):
            if len(np.unique(aux.values[rows[aux.known[rows]]])) < _FEWEST:
                where = f"{PART_WORDS[part]} images"
                if part == "train":
                    where += f" at ratio {train_ratio:g}" if on == "labelled" else ""
                more = "; --aux-on all takes more" if (part, on) == ("train", "labelled") else ""
                yield (
                    f"{aux.task.shown}: the {where} need {_FEWEST} different values or more, and "
                    f"those that have one are {int(aux.known[rows].sum())} of {len(rows)}{more}"
                )
                return
