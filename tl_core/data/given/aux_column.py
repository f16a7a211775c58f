"""Auxiliary labels from a manifest's column, or none."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tl_core.aux_task import BRIGHTNESS, BUILT_IN_TASKS, NO_TASK, TAKEN, AuxKind, AuxTask
from tl_core.data.given.aux_labels import FEWEST, AuxLabels
from tl_core.data.given.table import no_column
from tl_core.data.sources import Source
from tl_core.errors import Fault, InputError, truncate_list
from tl_core.text import pluralize, printable

NO_COLUMN = "names a column of a manifest (--data photos.csv); without one, brightness or none"
"""Why a column of anything else is no task."""
_NO_NUMBER = {"", "na", "nan", "n/a", "null"}
"""Cells of a column of numbers that hold none, in lower case. In one of text they are classes."""
_MOST_CODES = 10
"""Most numbers that are taken for codes of classes where other cells of the column are text."""
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
            numbers; more are a number to predict. Numbers among which some cells are none may be
            either, and are refused; see `_check_numbers`.

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
        what = _MEANINGS.get(column, taken) if known else no_column(column, usable)
        names = ", ".join(map(printable, ("brightness", "none", *usable)))
        raise InputError([Fault("--aux", f"{printable(column)}: {what}; valid are {names}")])
    cells, lines = source.columns[column], source.lines
    try:
        if not kind:
            _check_numbers(cells, lines)
        number = _is_regression(cells, kind)
        labels = _numbers(column, cells, lines) if number else _classes(column, cells)
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


def _check_numbers(cells: Sequence[str], lines: Sequence[str]) -> None:
    """Raise `ValueError` for a column of numbers in which some cells are none.

    One cell of text would make each number a class, and so would decimal commas. Codes of classes
    with a word among them (1, 2, 3, unknown) are few, and each has several images.
    """
    given = [i for i, cell in enumerate(cells) if cell.lower() not in _NO_NUMBER]
    odd = [i for i in given if _number(cells[i]) is None]
    alike = [cells[i] for i in given if _number(cells[i]) is not None or _with_comma(cells[i])]
    different = len(set(alike))
    codes = different <= _MOST_CODES and 2 * different <= len(alike)
    if len(alike) == len(given):  # As where all have a decimal point.
        codes = different <= 2
    if odd and not codes and 2 * len(alike) > len(given):
        raise ValueError(
            f"{len(alike):,} of {len(given):,} values look like numbers, but "
            f"{_odd_cells(cells, lines, odd)}; correct or empty {'it' if len(odd) == 1 else 'them'}"
            ", or take all values as classes: --aux-type classification"
        )


def _with_comma(cell: str) -> bool:
    """Whether a cell is a number with a decimal comma, which spreadsheets write."""
    return "," in cell and _number(cell.replace(",", ".")) is not None


def _odd_cells(cells: Sequence[str], lines: Sequence[str], odd: Sequence[int]) -> str:
    """How many cells are no numbers, the first of them, and why if it is a decimal comma."""
    shown = ", ".join(truncate_list([f"{cells[i]!r} in {lines[i]}" for i in odd], _NAMED))
    commas = any(_with_comma(cells[i]) for i in odd)
    why = " (decimals need a point, not a comma)" if commas else ""
    return f"{pluralize(len(odd), 'cell is', 'cells are')} not: {shown}{why}"


def _numbers(column: str, cells: Sequence[str], lines: Sequence[str]) -> AuxLabels:
    found = [None if cell.lower() in _NO_NUMBER else _number(cell) for cell in cells]
    wrong = [
        i
        for i, (cell, value) in enumerate(zip(cells, found, strict=True))
        if (value is None and cell.lower() not in _NO_NUMBER) or not _fits(value or 0.0)
    ]
    if wrong:
        raise ValueError(
            "--aux-type regression needs finite numbers (of 32 bits) or empty cells, but "
            f"{_odd_cells(cells, lines, wrong)}"
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
            "needs two images on average; if these are numbers, use --aux-type regression"
        )
    classes = tuple(sorted(counts))
    number = {name: i for i, name in enumerate(classes)}
    values = np.array([number.get(cell, -1) for cell in cells], np.int64)
    return AuxLabels(AuxTask(column, "classification", classes), values)


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
