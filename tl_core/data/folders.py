"""The files of a folder of pictures, without hidden and system files."""

import os
from collections.abc import Iterator
from pathlib import Path

# Files and folders that operating systems add; names with a leading dot are hidden as well.
_SIDECARS = frozenset(
    ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information")
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden or added by a system."""
    return name.startswith(".") or name.lower() in _SIDECARS


def files_below(folder: Path, within: Path | None = None) -> Iterator[Path]:
    """Yield every file at any depth, in order, except hidden and system files.

    Links are followed, also to other places. A folder is entered once, and not at all if it
    contains a folder on the way to it, so loops of links end. A folder that can't be read is
    yielded itself, so that it is reported with the unreadable files.

    Args:
        folder: where to look.
        within: a folder that counts as on the way, too.
    """
    seen: set[Path] = set()
    todo: list[tuple[Path, tuple[Path, ...]]] = [(folder, (within,) if within else ())]
    while todo:
        here, way = todo.pop()
        real = Path(os.path.realpath(here))
        if real in seen or any(place.is_relative_to(real) for place in way):
            continue
        seen.add(real)
        try:
            files, folders = _listed(here)
        except PermissionError:
            yield here
            continue
        yield from files
        todo += [(path, (*way, real)) for path in reversed(folders)]


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files (anything but folders) and folders directly in a folder, each sorted."""
    parts: tuple[list[Path], list[Path]] = ([], [])
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if is_hidden(entry.name):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:  # A link in a loop of links, or into a folder without permission.
                is_folder = False
            parts[is_folder].append(Path(entry))
    return parts
