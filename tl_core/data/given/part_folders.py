"""Folders that hold a split: `train/`, `val/` and `test/`, each with class folders."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain
from pathlib import Path

import numpy as np

from tl_core.data.folders import files_below, listed, own_folders
from tl_core.data.given.part_names import given_note, part_of
from tl_core.data.scanning.names import same_name_faults
from tl_core.data.scanning.outputs import PassedOver
from tl_core.data.scanning.selection import ALL, Selection
from tl_core.data.sources import Source, folder_source
from tl_core.data.splitting.rules import PARTS, Part, SplitRules
from tl_core.errors import InputError
from tl_core.text import pluralize, printable

_DEEPEST = 3
"""Folders around the parts, each the only one, that an archive may have added."""


def part_folders(root: Path, selection: Selection = ALL) -> dict[Part, Path] | None:
    """Return the folders of a data folder that are parts of a split; None if none looks like one.

    A part has the name of one, and class folders; `train` with images alone may be a class. Folders
    that an archive has added around the parts are entered. What `selection` leaves out as a whole
    is neither.

    Raises `InputError` if some look like parts and others do not: nothing is guessed.
    """
    top = root
    for _ in range(_DEEPEST):
        folders = [path for path in _folders(root) if selection.keeps_folder(_id(path, top))]
        named = {path: part for path in folders if (part := part_of(path.name, affixes=True))}
        if len(folders) == 1 and not (named and _folders(folders[0])):
            root = folders[0]
            continue
        return _parts(root, named, [path for path in folders if path not in named])
    return None


def _parts(
    root: Path, named: Mapping[Path, Part], others: Sequence[Path]
) -> dict[Part, Path] | None:
    with_classes = {path: part for path, part in named.items() if _folders(_unwrapped(path))}
    if not with_classes:
        if len(named) < 2 or others:
            return None
        raise InputError([_no_labels(root, named)])
    place = {part: printable(str(path)) for path, part in with_classes.items()}
    flags = " ".join(f"--{part} {path}" for part, path in ({"train": "DIR"} | place).items())
    if others:
        raise InputError([_mixed(root, with_classes, others, flags)])
    found: dict[Part, Path] = {}
    for path, part in with_classes.items():
        if other := found.get(part):
            names = f"{printable(other.name)} and {printable(path.name)}"
            why = f"data folder {printable(str(root))} has two {part} parts, {names}"
            raise InputError([f"{why}; name one for each part with --train, --val and --test"])
        found[part] = path
    if "train" not in found:
        names = ", ".join(printable(path.name) for path in with_classes)
        why = f"has {names}, but no part to train on"
        raise InputError([f"data folder {printable(str(root))} {why}; name it with --train DIR"])
    return {part: found[part] for part in PARTS if part in found}


def _mixed(root: Path, parts: Mapping[Path, Part], others: Sequence[Path], flags: str) -> str:
    alike, unlike = (
        ", ".join(printable(path.name) for path in paths) for paths in ([*parts], others)
    )
    verb = "look" if len(parts) > 1 else "looks"
    part = "parts" if len(parts) > 1 else "a part"
    return (
        f"data folder {printable(str(root))}: {alike} {verb} like {part} of a split, with class "
        f"folders, and {unlike} not: use {flags} to study the parts alone, or a manifest "
        "(--data photos.csv, docs/data.md) if all are classes"
    )


def _no_labels(root: Path, named: Mapping[Path, Part]) -> str:
    names = ", ".join(printable(path.name) for path in named)
    return (
        f"data folder {printable(str(root))}: {names} look like parts of a split, but have no "
        "class folders, so their images have no labels; put them into class folders, or name them "
        "and their labels in a manifest (--data photos.csv, docs/data.md)"
    )


def split_source(root: Path, selection: Selection = ALL) -> Source | None:
    """Return the source of a data folder that holds a split; None if it holds none."""
    if not (found := part_folders(root, selection)):
        return None
    top = Path(os.path.realpath(root))
    folders = {part: _unwrapped(path) for part, path in found.items()}
    shown = {part: f"{printable(path.name)}/" for part, path in found.items()}
    starts = {part: _id(path, root) for part, path in folders.items()}
    source = join_parts(folders, starts, shown, selection, printable(str(top)))
    passed, around = PassedOver(), next(iter(found.values())).parent
    beside = [path for path in own_folders(around, passed) if path not in found.values()]
    if selection:
        selection.note_matches(_beside(root, [*found.values()]))
    notes = [*passed.notes(around)]
    notes += [
        f"{printable(path.name)}/ has no class folders, so its images have no labels: they are "
        "not used"
        for path in beside
        if selection.keeps_folder(_id(path, root))
    ]
    return replace(source, notes=(*source.notes, *notes))


def _beside(root: Path, parts: Sequence[Path]) -> Iterator[str]:
    """Yield the names of the parts, of what lies beside them, and beside each folder around."""
    inside, folder = [*parts], parts[0].parent
    while True:
        files, folders = listed(folder)
        yield from (f"{_id(path, root)}/" for path in folders)
        below = (files_below(path) for path in folders if path not in inside)
        yield from (_id(path, root) for path in chain(files, *below))
        if folder == root:
            return
        inside, folder = [folder], folder.parent


def join_parts(
    folders: Mapping[Part, Path],
    starts: Mapping[Part, str],
    shown: Mapping[Part, str],
    selection: Selection,
    name: str,
) -> Source:
    """Join the sources of a split's parts.

    Args:
        folders: of the parts that are given, each with class folders.
        starts: what the names of each part's images begin with.
        shown: the names of the parts in messages.
        selection: the files that are used; patterns may name them with what theirs begin with.
        name: of the whole in messages.

    Raises `InputError` with the faults of all parts.
    """
    sources, faults = {}, []
    for part, folder in folders.items():
        try:
            sources[part] = folder_source(folder, selection.inside(starts[part]))
        except InputError as error:
            faults += [*error.faults]
    if faults:
        raise InputError(faults)
    classes = tuple(dict.fromkeys(name for source in sources.values() for name in source.classes))
    if alike := [*same_name_faults(classes)]:
        raise InputError(alike)
    number = {name: label for label, name in enumerate(classes)}
    each = [*sources.values()]
    ends = [*accumulate(len(source.ids) for source in each)]

    def where(i: int) -> tuple[Source, int]:
        k = int(np.searchsorted(ends, i, side="right"))
        return each[k], i - (ends[k] - len(each[k].ids))

    labels = tuple(number[s.classes[label]] for s in each for label in s.labels)
    parts = np.repeat([PARTS.index(part) for part in sources], [len(s.ids) for s in each])
    rules = SplitRules(parts.astype(np.int8))
    # The ids count, as the same files may be parts of other names.
    ids = tuple(f"{starts[part]}/{id_}" for part, s in sources.items() for id_ in s.ids)
    known = "\n".join([*(s.fingerprint for s in each), *ids])
    digest = hashlib.sha256(os.fsencode(known))
    lone = {part: s for part, s in sources.items() if len(sources) > 1}
    return Source(
        name=name,
        classes=classes,
        ids=ids,
        labels=labels,
        fingerprint=digest.hexdigest(),
        read=lambda i, size: where(i)[0].read(where(i)[1], size),
        rules=rules if lone else SplitRules(),
        notes=(
            *(note for source in each for note in source.notes),
            *(given_note(rules, shown) if lone else [_one_part(sources, shown)]),
        ),
    )


def _one_part(sources: Mapping[Part, Source], shown: Mapping[Part, str]) -> str:
    ((part, source),) = sources.items()
    n = pluralize(len(source.ids), "image")
    return f"only a training part is given, {shown[part]}: its {n} are split as any folder's"


def _id(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _folders(folder: Path) -> list[Path]:
    return [*own_folders(folder, PassedOver())] if folder.is_dir() else []


def _unwrapped(part: Path) -> Path:
    """The folder of a part itself, or the only one in it, as in `train/train/cat`."""
    inner = _folders(part)
    if len(inner) != 1:
        return part
    names = (part_of(path.name, affixes=True) for path in (inner[0], part))
    return inner[0] if len({*names}) == 1 else part
