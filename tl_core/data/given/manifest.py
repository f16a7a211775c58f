"""A manifest: a table with a row for each image, as CSV or Parquet.

Columns `path` and `label` are needed; `split` and `group` are used if they are there. All columns
are kept as text, for whoever needs them.
"""

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tl_core.data.decode import Picture
from tl_core.data.given.label_column import label_faults, missing_notes
from tl_core.data.given.part_names import SPELLINGS, given_note, part_of
from tl_core.data.given.table import NEEDED, Table, case_notes, read_table
from tl_core.data.scanning.names import name_notes
from tl_core.data.sources import Source, files_source
from tl_core.data.splitting.rules import PARTS, Part, SplitRules
from tl_core.errors import MOST_LISTED, InputError, truncate_list
from tl_core.files import user_path
from tl_core.text import printable

SUFFIXES = (".csv", ".tsv", ".parquet")
_URL = re.compile("[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_manifest(data: str | Path) -> bool:
    """Whether `--data` names a manifest, by its suffix; a folder may have any name."""
    path = user_path(data)
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def manifest_source(file: Path, root: Path | None = None) -> Source:
    """Return the images that a manifest lists.

    Args:
        file: the manifest.
        root: paths are relative to it; by default to the manifest's folder.

    Raises `InputError` that lists every fault with its line.
    """
    table = read_table(file)
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        found = column_names(table.columns)
        raise InputError(
            [
                f"{file}: no column {' and '.join(missing)}; columns are {found}. Name the column "
                "of the files path, and that of their classes label"
            ]
        )
    root = file.parent if root is None else root
    table.columns["path"] = [_as_here(path, root) for path in table.columns["path"]]
    faults = [*_row_faults(table, root)]
    whole = [label for label in table.columns["label"] if label]
    of_path: dict[str, set[str]] = defaultdict(set)
    for path, label in zip(table.columns["path"], table.columns["label"], strict=True):
        of_path[path].add(label)
    kinds = [f"{file}: {fault}" for fault in label_faults(whole, of_path)]
    if kinds or faults:
        raise InputError([*kinds, *faults])
    return _source(table, root)


def cells_alone(file: Path) -> Source:
    """Return the cells of a manifest with faulty rows, for the faults of its other columns.

    Raises `InputError` as `read_table` does.
    """
    table = read_table(file)
    columns = {name: tuple(cells) for name, cells in table.columns.items()}
    ids, lines = columns.get("path", ()), tuple(table.places)
    return Source("", (), ids, (), "", _no_picture, columns=columns, lines=lines)


def _no_picture(i: int, size: int) -> Picture:
    raise NotImplementedError


def _source(table: Table, root: Path) -> Source:
    paths, labels = table.columns["path"], table.columns["label"]
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise InputError([f"{table.file}: column label needs two classes or more; found {found}"])
    number = {name: i for i, name in enumerate(classes)}
    # As of a folder: the fingerprint of a relative path would be that of other images elsewhere.
    real = Path(os.path.realpath(root))
    files = [(real / path, number[label]) for path, label in zip(paths, labels, strict=True)]
    rules, notes = SplitRules(), [*name_notes(classes), *missing_notes(labels)]
    notes += case_notes(table.columns, "split")
    notes += _unused_splits(table.columns)
    if any(given := table.columns.get("split", [])):
        words: dict[Part, str] = {}
        parts = [part_of(word) or "train" for word in given]  # All are known here.
        for part, word in zip(parts, given, strict=True):
            words.setdefault(part, word)
        if "train" not in parts:
            raise InputError([f"{table.file}: column split names no image to train on"])
        rules = SplitRules(np.array([PARTS.index(part) for part in parts], np.int8))
        if set(parts) == {"train"}:
            rules = SplitRules()
            notes.append("column split names a training part alone: its images are split as any")
        else:
            notes += given_note(rules, words)
    columns = {name: tuple(cells) for name, cells in table.columns.items()}
    source = files_source(printable(str(table.file)), classes, tuple(paths), files, kind="manifest")
    lines = tuple(table.places)
    return replace(source, rules=rules, columns=columns, lines=lines, notes=tuple(notes))


def _unused_splits(columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield a note for each column that looks like a split, but has another name."""
    if any(columns.get("split", [])):
        return
    for name in (name for name in columns if name.lower() not in (*NEEDED, "split")):
        words = dict.fromkeys(columns[name])
        if not all(map(part_of, words)):  # It stops at the first word that is no part.
            continue
        parts = set(map(part_of, words))
        if len(parts) > 1 and "train" in parts:
            yield (
                f"column {printable(name)} ({printable(', '.join(words))}) is not used; if it is "
                "the split, rename it split"
            )


def _row_faults(table: Table, root: Path) -> Iterator[str]:
    """Yield the faults of rows; those of one kind are truncated together."""
    columns, at = table.columns, [f"{table.file}, {place}" for place in table.places]
    if not at:
        yield f"{table.file} has no rows"
    kinds: dict[str, list[str]] = defaultdict(list)
    first: dict[tuple[str, str], int] = {}
    some = any(columns.get("split", []))
    odd: dict[str, list[int]] = defaultdict(list)
    for i, (path, label) in enumerate(zip(columns["path"], columns["label"], strict=True)):
        if not label:
            kinds["label"].append(f"{at[i]}: label is empty")
        if not path:
            kinds["path"].append(f"{at[i]}: path is empty")
        elif (again := first.setdefault((path, label), i)) != i:
            kinds["again"].append(f"{at[i]}: {printable(path)} is in {table.places[again]} already")
        elif not (root / path).exists() and not (root / path).is_symlink():
            # That of one reads its folder, so those that are not listed get no reason.
            listed = len(kinds["file"]) < MOST_LISTED
            kinds["file"].append(f"{at[i]}: {_why_no_file(root, path)}" if listed else at[i])
        elif (root / path).is_dir():
            kinds["file"].append(
                f"{at[i]}: {printable(str(root / path))} is a folder, not an image"
            )
        if some and part_of(columns["split"][i]) is None:
            odd[columns["split"][i]].append(i)
    for word, rows in odd.items():
        where = at[rows[0]] + (f" and {len(rows) - 1} more" if len(rows) > 1 else "")
        shown = repr(word) if word else "empty"
        kinds["split"].append(f"{where}: split is {shown}; it must be {SPELLINGS}")
    for faults in kinds.values():
        yield from truncate_list(faults)
    if 0 < len(kinds["file"]) == len(at):
        folder = printable(str(root.absolute()))
        yield f"{table.file}: paths are relative to {folder}; --root DIR names another folder"


def _as_here(path: str, root: Path) -> str:
    """A path that Windows wrote, or with spaces around it, as this system writes it."""
    other = path.strip().replace("\\", "/")
    return other if other != path and not (root / path).exists() else path


def _why_no_file(root: Path, path: str) -> str:
    if _URL.match(path):
        return f"{printable(path)} is an address; download the images first"
    missing = f"there is no file {printable(str(root / path))}"
    longer = sorted((root / path).parent.glob(f"{glob.escape(Path(path).name)}.*"))
    return f"{missing}; do you mean {printable(longer[0].name)}?" if longer else missing


def write_manifest(source: Source, folder: Path, out: Path) -> None:
    """Write the images of a folder as a manifest, CSV or Parquet by the suffix of `out`.

    Paths are relative to the folder of `out` if the images are below it, else absolute.

    Raises `InputError` for a path that no text file can hold, `OSError` if it can't be written.
    """
    place, here = Path(os.path.realpath(folder)), Path(os.path.realpath(out.parent))
    below = place.relative_to(here) if place.is_relative_to(here) else place
    columns: dict[str, list[str]] = {
        "path": [(below / name).as_posix() for name in source.ids],
        "label": [source.classes[label] for label in source.labels],
    }
    if source.rules.parts is not None:
        columns["split"] = [PARTS[part] for part in source.rules.parts]
    if source.group_names:
        columns["group"] = [name or "" for name in source.group_names]
    if odd := [path for path in columns["path"] if printable(path) != path]:
        faults = (f"{printable(path)} has characters that a table can't hold" for path in odd)
        raise InputError(truncate_list(faults))
    import pandas as pd  # As above.

    table = pd.DataFrame(columns)
    if out.suffix.lower() == ".parquet":
        table.to_parquet(out, index=False)
    else:
        table.to_csv(out, index=False, sep="\t" if out.suffix.lower() == ".tsv" else ",")


def column_names(columns: Mapping[str, Sequence[str]]) -> str:
    """Return the names of columns, for messages."""
    return ", ".join(map(printable, columns)) or "none"
