"""The files of a folder of pictures, without hidden and system files and programs' own folders."""

import os
from collections.abc import Iterator
from pathlib import Path

from tl_core.data.scanning.outputs import PassedOver, is_hidden, output_kind


def files_below(
    folder: Path, within: Path | None = None, passed: PassedOver | None = None
) -> Iterator[Path]:
    """Yield every file at any depth, in order, except hidden and system files.

    Folders below it that programs write, such as studies and caches, are passed over.

    Links are followed, also to other places. A folder is entered once, and not at all if it
    contains a folder on the way to it, so loops of links end. A folder that can't be read is
    yielded itself, so that it is reported with the unreadable files.

    Args:
        folder: where to look.
        within: a folder that counts as on the way, too.
        passed: the folders that are passed over are added to it.
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
            if here != folder and (kind := folder_kind(here)):
                if passed is not None:
                    passed.add(kind, here)
                continue
            files, folders = listed(here)
        except PermissionError:
            yield here
            continue
        yield from (path for path in files if not is_hidden(path.name))
        todo += [(path, (*way, real)) for path in reversed(folders)]


def folder_kind(folder: Path) -> str | None:
    """What wrote a folder, if a program did; raises `PermissionError` if it can't be read."""
    # A hidden one need not be readable.
    names = [] if is_hidden(folder.name) else [path.name for path in folder.iterdir()]
    return output_kind(folder, names)


def is_output(folder: Path, passed: PassedOver) -> bool:
    """Whether programs wrote a folder, or all that is in it; then it is added to `passed`."""
    try:
        kind = folder_kind(folder)
    except PermissionError:  # `files_below` reports it.
        return False
    if kind:
        passed.add(kind, folder)
        return True
    inside = PassedOver()
    if next(files_below(folder, passed=inside), None) is not None or not inside.outputs:
        return False
    passed.merge(inside.as_one(folder))  # Such as `runs`, which holds studies and nothing else.
    return True


def own_folders(folder: Path, passed: PassedOver) -> Iterator[Path]:
    """Yield the folders directly in a folder that may be classes, or parts of a split, by name."""
    here = Path(os.path.realpath(folder))
    for path in listed(folder)[1]:
        # A link back up would be a class with the images of all the others.
        if not here.is_relative_to(os.path.realpath(path)) and not is_output(path, passed):
            yield path


def listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files (anything but folders) and folders directly in a folder, each sorted."""
    parts: tuple[list[Path], list[Path]] = ([], [])
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            try:
                is_folder = entry.is_dir()
            except OSError:  # A link in a loop of links, or into a folder without permission.
                is_folder = False
            parts[is_folder].append(Path(entry))
    return parts
