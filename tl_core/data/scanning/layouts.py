"""What a folder is that has no classes in it, and what to type instead."""

from collections.abc import Sequence
from pathlib import Path

from tl_core.data.folders import listed
from tl_core.data.scanning.outputs import is_hidden
from tl_core.text import printable

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
TABLES = (".csv", ".tsv")
PICTURES = frozenset(
    (
        *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".pgm", ".ppm", ".jp2", ".avif", ".heic", ".heif"),
    )
)
"""Usual endings of pictures; only hints and notes depend on them."""
ONE_CLASS = (
    "each image must have one class: several labels for an image (multi-label), numbers to predict "
    "(regression), boxes and masks are not supported"
)


def why_no_folder(path: Path) -> str:
    """Say what a path is that is no folder."""
    expected = "a folder, demo or oxford-pet is expected"
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
    if names:
        below = _folders(root / names[0])
        return f"{needs}{_nested(root / names[0], below)}" if len(below) > 1 else needs
    if not pictures:
        return needs
    if tables:
        table = printable(str(tables[0]))
        return (
            f"{needs}. Images lie directly in it, beside {tables[0].name}: if that table names the "
            f"class of each image, use --data {table}; {ONE_CLASS}"
        )
    return (
        f"{needs}. Images lie directly in it: put those of each class into a sub-folder of its "
        f"own; {ONE_CLASS}"
    )


def _nested(only: Path, below: Sequence[str]) -> str:
    shown = ", ".join(map(printable, below[:3])) + (", ..." if len(below) > 3 else "")
    return (
        f", which has {len(below)} sub-folders ({shown}): if these are the classes, use --data "
        f"{printable(str(only))}"
    )


def _folders(folder: Path) -> list[str]:
    return [path.name for path in listed(folder)[1] if not is_hidden(path.name)]
