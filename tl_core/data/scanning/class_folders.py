"""A data folder: one sub-folder for each class, with files at any depth."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tl_core.data.folders import files_below, listed, own_folders
from tl_core.data.reading.kinds import HEAD, TEXTS, kind_fault
from tl_core.data.scanning.layouts import (
    ONE_CLASS,
    PICTURES,
    fold_notes,
    why_no_classes,
    why_no_folder,
)
from tl_core.data.scanning.masks import mask_notes
from tl_core.data.scanning.names import name_notes, same_name_faults
from tl_core.data.scanning.outputs import PassedOver
from tl_core.data.scanning.selection import ALL, Selection
from tl_core.errors import Fault, InputError, truncate_list
from tl_core.text import natural_key

_TRIED = 3
"""Files of a class that are opened to see whether they are texts."""


@dataclass(frozen=True)
class Scan:
    """What a data folder holds."""

    classes: tuple[str, ...]
    """By code points, as torchvision's ImageFolder sorts them; labels are indices into it."""
    files: tuple[Path, ...]
    """N files that are used."""
    ids: tuple[str, ...]
    """Their paths below the data folder."""
    labels: tuple[int, ...]
    notes: tuple[str, ...]
    """What users must know: folders that were passed over, files that look like masks."""


def scan_classes(root: Path, selection: Selection = ALL) -> Scan:
    """Find the classes of a folder, and their files.

    Folders that programs write, such as studies and caches, are passed over.

    Raises `InputError` that names every class folder with no files, or with the name of another,
    and every pattern of `selection` that matches nothing; of a part's, another part may have files.
    """
    if not root.is_dir():
        raise InputError([f"data folder {root} {why_no_folder(root)}"])
    passed, inside = PassedOver(), {}
    for folder in own_folders(root, passed):
        own = PassedOver()
        inside[folder.name] = [*files_below(folder, within=root, passed=own)]
        passed.merge(own)
    kept = {
        name: [path for path in files if selection.keeps(_id(path, root))]
        for name, files in inside.items()
        if selection.keeps_folder(name)
    }
    _note_matches(root, selection, inside, passed)
    faults = [*(() if selection.place else selection.unused()), *same_name_faults([*kept])]
    if len(kept) < 2:
        faults.append(Fault(None, f"data folder {root} {why_no_classes(root, [*kept])}"))
    else:
        faults += _without_pictures(root, kept, inside)
    if faults:
        raise InputError(faults)
    used = tuple(path for name in kept for path in kept[name])
    ids = tuple(_id(path, root) for path in used)
    return Scan(
        classes=tuple(kept),
        files=used,
        ids=ids,
        labels=tuple(label for label, name in enumerate(kept) for _ in kept[name]),
        notes=(*passed.notes(root), *name_notes([*kept]), *mask_notes(ids), *fold_notes(ids)),
    )


def _id(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _note_matches(
    root: Path, selection: Selection, inside: Mapping[str, Sequence[Path]], passed: PassedOver
) -> None:
    """Remember which patterns match something; what is unused anyway, or empty, counts, too."""
    if selection:
        files = [*listed(root)[0], *(path for files in inside.values() for path in files)]
        folders = [folder for found in passed.folders.values() for folder in found]
        folders += (root / name for name, files in inside.items() if not files)
        selection.note_matches(
            [*(_id(path, root) for path in files), *(f"{_id(path, root)}/" for path in folders)]
        )


def _without_pictures(
    root: Path, kept: Mapping[str, Sequence[Path]], inside: Mapping[str, Sequence[Path]]
) -> Iterator[Fault]:
    """Yield a fault for each class without files, or with texts alone."""
    faults = []
    natural = sorted(kept, key=natural_key)
    for name in (name for name in natural if not kept[name]):
        lacks = (
            "has no files that --include and --exclude leave: change these"
            if inside[name]
            else "has no files: add some"
        )
        way_out = f"or --exclude {shlex.quote(name)} leaves the class out"
        faults.append(f"class folder {root / name} {lacks}, {way_out}")
    faults += [
        f"class folder {root / name} has texts alone, such as {_id(kept[name][0], root)}: "
        f"--exclude {shlex.quote(name)} leaves it out; {ONE_CLASS}"
        for name in natural
        if _are_texts(kept[name])
    ]
    yield from (Fault(None, fault) for fault in truncate_list(faults))


def _are_texts(files: Sequence[Path]) -> bool:
    """Whether no name ends as that of a picture, and the first files are texts."""
    if not files or any(path.suffix.lower() in PICTURES for path in files):
        return False
    return all(map(_is_text, files[:_TRIED]))


def _is_text(path: Path) -> bool:
    try:
        if not path.is_file():  # To open a pipe would wait for ever.
            return False
        with path.open("rb") as stream:
            return kind_fault(stream.read(HEAD)) in TEXTS
    except OSError:
        return False
