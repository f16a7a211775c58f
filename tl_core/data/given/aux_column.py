"""Auxiliary labels from a manifest's column, or none."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tl_core.aux_task import BRIGHTNESS, BUILT_IN_TASKS, NO_TASK, TAKEN, AuxKind, AuxTask
from tl_core.data.given.aux_labels import FEWEST, AuxLabels
from tl_core.data.sources import Source
from tl_core.errors import Fault, InputError, truncate_list
from tl_core.text import pluralize, printable

NO_COLUMN = "names a column of a manifest (--data photos.csv); without one, brightness or none"
"""Why a column of anything else is no task."""
_NO_NUMBER = {"", "na", "nan", "n/a", "null"}
"""Cells of a column of numbers that hold none, in lower case. In one of text they are classes."""
_NAMED = 3
"""Cells or classes that a text names."""
_MEANINGS = {
    "label": "this column is the class, which is learned in any case",
    "path": "this column names the images",
    "split": "this column is the split",
}
"""Columns of a manifest that have a meaning of their own, and can't be a task."""


def label_aux(source: Source, column: str, kind: AuxKind | None = None) -> Source:
    """Give the images their auxiliary labels: `brightness` and `none`, or a manifest's column.

    Args:
        source: the images.
        column: its name.
        kind: what its cells are. None to go by them: text is classes, and so are two different
            numbers; more are a number to predict.

    Raises:
        InputError: there is no such column or kind, or it can't be learned as that kind.
    """
    if kind not in (None, "regression", "classification"):
        raise InputError([Fault("--aux-type", f"{kind}: must be 'regression' or 'classification'")])
    if column == BRIGHTNESS.name:
        return source
    if column == NO_TASK.name:
        labels = AuxLabels(NO_TASK, np.full(len(source.ids), -1, np.int64))
        return replace(source, aux=labels)
    if not source.columns:
        raise InputError([Fault("--aux", f"{column}: {NO_COLUMN}")])
    usable = [
        name for name in source.columns if not (name in BUILT_IN_TASKS or TAKEN.fullmatch(name))
    ]
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
    notes = (_note(labels, kind), *_lone_note(labels))
    return replace(source, aux=labels, notes=(*source.notes, *notes))


def _is_regression(cells: Sequence[str], kind: AuxKind | None) -> bool:
    if kind:
        return kind == "regression"
    return len(_numbers_in(cells)) > 2


def _numbers_in(cells: Sequence[str]) -> set[float]:
    """The different numbers of a column that has nothing else; none of one of text."""
    found = {_number(cell) for cell in cells if cell.lower() not in _NO_NUMBER}
    numbers = {number for number in found if number is not None}
    return numbers if numbers == found else set()


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _fits(value: float) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(np.float32(value)))


def _numbers(column: str, cells: Sequence[str]) -> AuxLabels:
    found = [None if cell.lower() in _NO_NUMBER else _number(cell) for cell in cells]
    wrong = [
        cell
        for cell, value in zip(cells, found, strict=True)
        if (value is None and cell.lower() not in _NO_NUMBER) or not _fits(value or 0.0)
    ]
    if wrong:
        shown = ", ".join(truncate_list(map(repr, dict.fromkeys(wrong)), _NAMED))
        raise ValueError(
            f"--aux-type regression needs finite numbers (of 32 bits) or empty cells, but "
            f"{pluralize(len(wrong), 'cell is', 'cells are')} not: {shown}"
        )
    values = np.array([math.nan if value is None else value for value in found], np.float32)
    _check_variety(Counter(value for value in found if value is not None))
    return AuxLabels(AuxTask(column, "regression"), values)


def _classes(column: str, cells: Sequence[str]) -> AuxLabels:
    missing = _NO_NUMBER if _numbers_in(cells) else {""}
    counts = Counter(cell for cell in cells if cell.lower() not in missing)
    _check_variety(counts)
    n = sum(counts.values())
    if 2 * len(counts) > n:
        raise ValueError(
            f"{pluralize(len(counts), 'class', 'classes')} for {pluralize(n, 'image')}: a class "
            f"needs two images on average; if these are numbers, {_way_to_numbers(counts)}"
        )
    classes = tuple(sorted(counts))
    number = {name: i for i, name in enumerate(classes)}
    values = np.array([number.get(cell, -1) for cell in cells], np.int64)
    return AuxLabels(AuxTask(column, "classification", classes), values)


def _way_to_numbers(counts: Counter[str]) -> str:
    """What makes numbers of cells that were taken for classes."""
    numbers = sum(n for cell, n in counts.items() if _number(cell) is not None)
    others = [c for c in counts if _number(c) is None and c.lower() not in _NO_NUMBER]
    if not others or 2 * numbers <= counts.total():
        return "use --aux-type regression"
    cells = "cells that are none" if len(others) > 1 else "cell that is none"
    shown = ", ".join(truncate_list(map(repr, others), _NAMED))
    return f"empty the {cells}, {shown}; {numbers:,} others are numbers"


def _check_variety(counts: Mapping[Any, int]) -> None:
    if len(counts) < FEWEST:
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


def _lone_note(labels: AuxLabels) -> Iterator[str]:
    """Yield a note on the classes that can't be both learned and measured, if any."""
    if labels.task.kind != "classification":
        return
    counts = np.bincount(labels.values[labels.known], minlength=len(labels.task.classes))
    lone = [labels.task.classes[i] for i in np.flatnonzero(counts == 1)]
    if lone:
        names = printable(", ".join(truncate_list(lone, _NAMED)))
        have = pluralize(len(lone), "class has", "classes have") + " only one image"
        why = "is either not learned or not scored"
        yield f"auxiliary task {labels.task.shown}: {have}, which {why}: {names}"
