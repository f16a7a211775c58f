"""A table as CSV or Parquet: its cells as text, and the line of each row."""

import csv
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tl_core.errors import InputError, truncate_list
from tl_core.text import pluralize, printable

NEEDED = ("path", "label")
"""Columns that every manifest has."""
_SEPARATORS = ",;\t"
_SAID = re.compile(r'"?sep=([^\r\n"])"?[\r\n]*', re.IGNORECASE)
"""A first line by which Excel knows the separator."""


@dataclass(frozen=True)
class Table:
    """The cells of a manifest."""

    file: Path
    columns: dict[str, list[str]]
    lines: list[int]
    """Line of the file that each row ends in; in a Parquet file, its number from 1."""
    word: str = "line"

    @property
    def places(self) -> list[str]:
        """Where each row is, such as `line 5`."""
        return [f"{self.word} {line}" for line in self.lines]


def read_table(file: Path) -> Table:
    """Read a CSV file, with the separator that its first line has or names, or a Parquet file.

    Names of columns, and labels and the like, lose the spaces around them. `Path` and `LABEL` are
    columns `path` and `label`, if there is no other of that name.

    Raises `InputError` if it is unreadable, or has rows of another length than the first line.
    """
    try:
        rows, lines = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)
    except UnicodeDecodeError as error:
        remedy = "save it as such (in a spreadsheet: CSV UTF-8)"
        where = f"{error.reason} at byte {error.start}"
        raise InputError([f"{file} is not in UTF-8 ({where}); {remedy}"]) from error
    except (OSError, csv.Error, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError([f"{file} can't be read: {why}"]) from error
    if not rows:
        raise InputError([f"{file} is empty; a line with the names of the columns is expected"])
    rows = _without_empty_columns(rows)
    head = _names([name.strip() for name in rows[0]])
    if twice := sorted({printable(name) for name in head if head.count(name) > 1}):
        raise InputError([f"{file}: column {', '.join(twice)} is there twice"])
    word = "row" if file.suffix.lower() == ".parquet" else "line"
    faults = [
        f"{file}, {word} {line}: {pluralize(len(row), 'cell')}, but {len(head)} columns"
        for row, line in zip(rows[1:], lines[1:], strict=True)
        if len(row) != len(head)
    ]
    if faults:
        raise InputError(truncate_list(faults))
    columns = {
        name: [row[i] if name == "path" else row[i].strip() for row in rows[1:]]
        for i, name in enumerate(head)
    }
    return Table(file, columns, lines[1:], word)


def case_notes(columns: Mapping[str, Sequence[str]], name: str) -> Iterator[str]:
    """Yield a note for a column that has a name in other letters: it is left alone."""
    for other, cells in columns.items():
        if name not in columns and other.lower() == name and any(cells):
            shown = printable(other)
            yield f"column {shown} is not used; a column {name} would be: rename it if it is that"


def no_column(name: str, names: Iterable[str]) -> str:
    """Say that there is no column of this name, and which name is like it in any case."""
    known = {each.casefold(): each for each in names}
    near = difflib.get_close_matches(name.casefold(), known, n=1)
    hint = f" (did you mean {printable(known[near[0]])}?)" if near else ""
    return f"no such column{hint}"


def _names(head: list[str]) -> list[str]:
    """Names of columns, with those of `NEEDED` in lower case where this is no second one."""
    lower = [name.lower() for name in head]
    return [
        low if low in NEEDED and lower.count(low) == 1 else name
        for name, low in zip(head, lower, strict=True)
    ]


def _without_empty_columns(rows: list[list[str]]) -> list[list[str]]:
    """Drop columns without a name and cells, which spreadsheets write: `path,label,,`."""
    unnamed = [i for i, name in enumerate(rows[0]) if not name.strip()]
    empty = {i for i in unnamed if not any(cell.strip() for row in rows for cell in row[i : i + 1])}
    if not empty:
        return rows
    return [[cell for i, cell in enumerate(row) if i not in empty] for row in rows]


def _csv(file: Path) -> tuple[list[list[str]], list[int]]:
    # With or without a byte order mark, which spreadsheets write.
    with file.open(newline="", encoding="utf-8-sig") as stream:
        start = stream.readline()
        if said := _SAID.fullmatch(start):
            between, before = said[1], 1
        else:
            between, before = max(_SEPARATORS, key=start.count), 0
            stream.seek(0)
        reader = csv.reader(stream, delimiter=between, strict=True)
        found = [(row, before + reader.line_num) for row in reader if row]
    return [row for row, _ in found], [line for _, line in found]


def _parquet(file: Path) -> tuple[list[list[str]], list[int]]:
    import pandas as pd  # It takes a second, which commands without a manifest need not wait.

    table = pd.read_parquet(file)

    def text(cell: object) -> str:
        if isinstance(cell, np.ndarray):  # A list, such as an embedding or several labels.
            return np.array2string(cell, separator=", ")
        if isinstance(cell, bytes):  # Some writers do not say that they are text.
            return cell.decode(errors="backslashreplace")
        # What else is no scalar has no missing value as a whole.
        return "" if pd.api.types.is_scalar(cell) and pd.isna(cell) else str(cell)

    cells = [[*map(text, row)] for row in table.itertuples(index=False)]
    return [[str(name) for name in table.columns], *cells], [*range(len(cells) + 1)]
