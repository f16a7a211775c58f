"""Which files of a folder of pictures are meant."""

import os
from collections.abc import Iterator
from pathlib import Path

# What systems leave among people's files; names with a leading dot are passed over as well.
_SIDECARS = frozenset(
    ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information")
)


def is_passed_over(name: str) -> bool:
    """Whether a file or folder of this name is nobody's picture or class."""
    return name.startswith(".") or name.lower() in _SIDECARS


def files_below(folder: Path, within: Path | None = None) -> Iterator[Path]:
    """Every file at any depth, in order; not hidden ones, nor what file managers leave behind.

    Links are followed, also to what lies elsewhere. A folder is entered once, and not at all if it
    holds one of those on the way to it, so loops of links end. One that can't be read is yielded
    itself, as if it were a file: to be told with those that can't.

    Args:
        folder: where to look.
        within: a folder that is on the way too.
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
    """What is in the folder itself, sorted: files and all else that is no folder, and folders."""
    parts: tuple[list[Path], list[Path]] = ([], [])
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not is_passed_over(entry.name):
                parts[_is_folder(entry)].append(Path(entry))
    return parts


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link in a loop of links, or to where one may not look.
        return False
