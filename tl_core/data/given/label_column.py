"""What a column of labels holds: classes, or something that a study can't learn."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from tl_core.text import pluralize

_FEW_VALUES, _FEW_IMAGES = 20, 10
"""Numbers are classes if they have at most so many values, or each has so many images."""
_MISSING = frozenset(("nan", "na", "n/a", "<na>", "null", "none", "missing", "?", "-"))
_BETWEEN = (";", "|", ",")
"""What separates several labels in a cell."""
_LIST = re.compile(r"\[(\s*['\"].*|.*,.*)\]", re.DOTALL)
"""A list as programs write it: `['cat']`, `[1, 0]`."""


def label_faults(labels: Sequence[str], of_path: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield one sentence if the labels are numbers to predict, or several for an image.

    Args:
        labels: of each image, without empty ones.
        of_path: the labels of each path.
    """
    counts = Counter(labels)
    if fault := _regression(counts) or _several(counts, of_path):
        yield fault


def missing_notes(labels: Sequence[str]) -> Iterator[str]:
    """Yield a note for each class that has the name of a missing value, such as `nan`."""
    for label, n in Counter(labels).items():
        if label.casefold() in _MISSING:
            rows = "that row" if n == 1 else "those rows"
            yield (
                f"{label!r} is a class of {pluralize(n, 'image')}; if it says that a label is "
                f"missing, take {rows} out"
            )


def _regression(counts: Mapping[str, int]) -> str | None:
    known = {label: n for label, n in counts.items() if label.casefold() not in _MISSING}
    try:
        numbers = [float(label) for label in known]
    except ValueError:
        return None
    if len(numbers) <= _FEW_VALUES or not all(map(math.isfinite, numbers)):
        return None
    whole = all(number.is_integer() for number in numbers)
    if whole and median(known.values()) >= _FEW_IMAGES:
        return None
    return (
        f"column label has {pluralize(len(numbers), 'number', 'different numbers')} from "
        f"{min(numbers):g} to {max(numbers):g}: a number to predict (regression), which a study "
        "does not learn; give classes, such as ranges of it, and if the numbers are names of "
        "classes, begin each with a letter"
    )


def _several(counts: Mapping[str, int], of_path: Mapping[str, set[str]]) -> str | None:
    why = "several labels for one image (multi-label), which a study does not learn; give one class"
    for between in _BETWEEN:
        cells = {label: [part.strip() for part in label.split(between)] for label in counts}
        in_cells = Counter(part for parts in cells.values() for part in set(parts))
        # A name may hold such a character; in a list, its parts are labels of other images, too.
        # Names with commas share words (`Salem, Oregon`), so there each part is a label by itself.
        of_others = {
            label: all(part in counts for part in parts)
            if between == ","
            else all(parts) and any(in_cells[part] > 1 for part in parts)
            for label, parts in cells.items()
            if len(parts) > 1
        }
        lists = [label for label in counts if of_others.get(label) or _LIST.fullmatch(label)]
        if lists:
            n = sum(counts[label] for label in lists)
            rows, has = pluralize(n, "row"), "has" if n == 1 else "have"
            return f"{rows} of column label, such as {lists[0]!r}, {has} {why}"
    twice = {path: found for path, found in of_path.items() if len(found) > 1}
    if twice:
        path, found = next(iter(twice.items()))
        paths = pluralize(len(twice), "path has", "paths have")
        shown = " and ".join(map(repr, sorted(found)))
        return f"{paths} rows with different labels, such as {path} with {shown}: {why}"
    return None
