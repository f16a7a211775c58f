"""Groups of images that belong together, such as those of one patient."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from tl_core.data.given.labelling import captured
from tl_core.data.given.manifest import column_names
from tl_core.data.given.table import case_notes, no_column
from tl_core.data.sources import Source
from tl_core.data.splitting.rules import PART_WORDS, PARTS
from tl_core.errors import Fault, InputError, truncate_list
from tl_core.text import pluralize, printable

NO_COLUMN = "names a column of a manifest (--data photos.csv); a folder takes --group-regex"
"""Why a column of anything else can't group its images."""
_LISTED = 3


def group_by_column(source: Source, column: str | None) -> Source:
    """Group the images of a manifest by a column; by default `group`, if there is one."""
    if column is None:
        if not any(source.columns.get("group", ())):
            found = case_notes(source.columns, "group")
            return replace(source, notes=(*source.notes, *found))
        return _grouped(source, "group", [name or None for name in source.columns["group"]])
    if not source.columns:
        raise InputError([Fault("--group", f"{column}: {NO_COLUMN}")])
    if column not in source.columns:
        names = column_names(source.columns)
        what = no_column(column, source.columns)
        raise InputError([Fault("--group", f"{printable(column)}: {what}; columns are {names}")])
    return _grouped(source, column, [name or None for name in source.columns[column]])


def group_by_regex(source: Source, pattern: str) -> Source:
    """Group images by what a regular expression finds in their paths; see `captured`."""
    return _grouped(source, pattern, captured("--group-regex", pattern, source.ids))


def _grouped(source: Source, by: str, names: Sequence[str | None]) -> Source:
    """Add groups; an image without one is a group of its own."""
    number: dict[str, int] = {}
    alone = len(names)  # Numbers from here on are those of images without a group.
    groups = np.array(
        [
            alone + i if name is None else number.setdefault(name, len(number))
            for i, name in enumerate(names)
        ],
        np.int64,
    )
    rules = replace(source.rules, groups=groups, by=by)
    if faults := [*_on_two_sides(source, groups, [*number])]:
        raise InputError(truncate_list(faults))
    notes = (*source.notes, *_notes(source, by, names))
    return replace(source, rules=rules, group_names=tuple(names), notes=notes)


def _on_two_sides(source: Source, groups: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Yield a fault for each group that is in several of the parts that are given."""
    if source.rules.parts is None:
        return
    pairs = np.unique(np.stack([groups, source.rules.parts.astype(np.int64)]), axis=1)
    # They are sorted, so those of a group lie side by side.
    _, starts, counts = np.unique(pairs[0], return_index=True, return_counts=True)
    for start, n in zip(starts[counts > 1], counts[counts > 1], strict=True):
        parts = [PART_WORDS[PARTS[k]] for k in pairs[1][start : start + n]]
        yield (
            f"group {printable(names[pairs[0][start]])} is in {' and '.join(parts)} of the given "
            "split; a group must be on one side"
        )


def _notes(source: Source, by: str, names: Sequence[str | None]) -> Iterator[str]:
    kinds = {name for name in names if name is not None}
    n = len(names)
    yield (
        f"{pluralize(len(kinds), 'group')} by {printable(by)}: a group stays on one side of the "
        "split, training subsets are made of whole groups, and intervals are about new groups"
    )
    if missing := [source.ids[i] for i in range(n) if names[i] is None]:
        shown = ", ".join(truncate_list(map(printable, missing), _LISTED))
        have = pluralize(len(missing), "image has no group and is", "images have no group and are")
        each = "a group of its own" if len(missing) == 1 else "groups of their own"
        yield f"{have} {each}: {shown}"
