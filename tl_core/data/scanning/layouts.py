"""What a folder is that has no classes in it, and what to type instead."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tl_core.data.folders import listed
from tl_core.data.scanning.outputs import is_hidden
from tl_core.errors import truncate_list
from tl_core.text import natural_key, printable

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
TABLES = (".csv", ".tsv")
PICTURES = frozenset(
    (
        *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".pgm", ".ppm", ".jp2", ".avif", ".heic", ".heif"),
    )
)
"""Usual endings of pictures; only hints and notes depend on them."""
_FLAT = "Images lie directly in it"
ONE_CLASS = (
    "each image must have one class: several labels for an image (multi-label), numbers to predict "
    "(regression), boxes and masks are not supported"
)


def why_no_folder(path: Path) -> str:
    """Say what a path is that is no folder."""
    expected = "a folder, a table (.csv, .tsv, .parquet), demo or oxford-pet is expected"
    if not path.exists():
        return f"does not exist; {expected}"
    if path.name.lower().endswith(ARCHIVES):
        return "is an archive; unpack it and name the unpacked folder"
    return f"is a file, not a folder; {expected}"


def why_no_classes(root: Path, names: Sequence[str]) -> str:
    """Say what a folder with fewer than two class folders, `names`, needs, and what it may be."""
    found = f"only {names[0]!r}" if names else "none"
    needs = f"needs one sub-folder per class, two or more; found {found}"
    files, _ = listed(root)
    pictures = [path for path in files if path.suffix.lower() in PICTURES]
    tables = [path for path in files if path.suffix.lower() in TABLES and not is_hidden(path.name)]
    below = _folders(root / names[0]) if names else []
    if len(below) > 1:
        return f"{needs}{_nested(root / names[0], below)}"
    if not names and not pictures:
        return needs
    if tables:
        beside = ", ".join(truncate_list((printable(path.name) for path in tables), 5))
        where = f"It lies beside {beside}" if names else f"{_FLAT}, beside {beside}"
        which, use = "that table", printable(str(tables[0]))
        if len(tables) > 1:
            which, use = "one of these tables", "with its path"
        return (
            f"{needs}. {where}: if {which} names the class of each image, use --data {use}; "
            f"{ONE_CLASS}"
        )
    if names:
        return needs
    return (
        f"{needs}. {_FLAT}: put those of each class into a sub-folder of its "
        "own, or, if their names tell the class, make a table with tl-study manifest "
        f"{printable(str(root))} --label-regex '(cat|dog)'; {ONE_CLASS}"
    )


def fold_notes(ids: Sequence[str]) -> Iterator[str]:
    """Yield a note if the folders that are taken for classes all hold the same sub-folders.

    So do folds of a cross-validation, or places and years, each with class folders.

    Args:
        ids: paths of the files below the data folder, the first part of each is its class.
    """
    below: dict[str, set[str]] = defaultdict(set)
    for path in map(PurePosixPath, ids):
        below[path.parts[0]].add(path.parts[1] if len(path.parts) > 2 else "")
    first, *others = below.values()
    if len(first) > 1 and "" not in first and all(other == first for other in others):
        shown = ", ".join(map(printable, truncate_list(sorted(first, key=natural_key), 3)))
        folders = ", ".join(map(printable, truncate_list(sorted(below, key=natural_key), 3)))
        yield (
            f"the classes ({folders}) all have the same sub-folders ({shown}): if these are the "
            "classes, merge them, or list the images with tl-study manifest FOLDER and correct "
            "column label"
        )


def _nested(only: Path, below: Sequence[str]) -> str:
    shown = ", ".join(map(printable, below[:3])) + (", ..." if len(below) > 3 else "")
    return (
        f", which has {len(below)} sub-folders ({shown}): if these are the classes, use --data "
        f"{printable(str(only))}"
    )


def _folders(folder: Path) -> list[str]:
    return [path.name for path in listed(folder)[1] if not is_hidden(path.name)]
