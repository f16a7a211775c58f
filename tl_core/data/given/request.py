"""What is asked for by `--data` and the flags that belong to it, and the source that this gives."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tl_core.aux_task import BUILT_IN_TASKS, NAME, AuxKind
from tl_core.config import BUILT_IN
from tl_core.data.given import aux_column, grouping
from tl_core.data.given.aux_column import label_aux
from tl_core.data.given.grouping import group_by_column, group_by_regex
from tl_core.data.given.manifest import cells_alone, is_manifest, manifest_source
from tl_core.data.given.part_folders import join_parts, split_source
from tl_core.data.scanning.selection import ALL, Selection
from tl_core.data.sources import Source, find_source
from tl_core.data.splitting.rules import Part
from tl_core.errors import Fault, InputError
from tl_core.files import user_path
from tl_core.text import printable

_NO_ROOT = "is read with a manifest alone (--data photos.csv)"


@dataclass(frozen=True)
class DataRequest:
    """Labelled images, as a user names them."""

    data: str | Path
    """`demo`, `oxford-pet`, a folder or a manifest; not read if there is `train`."""
    root: str | Path | None = None
    """The folder that a manifest's paths are relative to; by default its own."""
    train: str | Path | None = None
    """A folder with one sub-folder for each class, to train on."""
    val: str | Path | None = None
    test: str | Path | None = None
    group: str | None = None
    """A column of the manifest."""
    group_regex: str | None = None
    """Finds the group in an image's path."""
    selection: Selection = ALL
    """The files of folders that are used."""
    aux: str = NAME
    """The auxiliary task: a column of the manifest, `brightness` or `none`."""
    aux_kind: AuxKind | None = None
    """What that column has: `regression` (numbers) or `classification`; None to go by its cells."""


def find_data(asked: DataRequest | str | Path, cache: str | Path) -> Source:
    """Return the source that is asked for, with its parts, groups and auxiliary labels.

    Args:
        asked: what users name; a text or a path is `DataRequest.data`.
        cache: folder for downloads.

    Raises:
        InputError: names every fault of the data.
    """
    if not isinstance(asked, DataRequest):
        asked = DataRequest(asked)
    try:
        source = _find(asked, user_path(cache))
    except PermissionError as error:  # Of what holds the rest: other files are listed one by one.
        why = f"{printable(str(error.filename))} can't be read: {error.strerror}"
        raise InputError([why]) from error
    except InputError as error:
        raise InputError([*error.faults, *_column_faults(asked)]) from error
    source, faults = _add_columns(source, asked)
    if faults:
        raise InputError(faults)
    return source


def _add_columns(source: Source, asked: DataRequest) -> tuple[Source, list[Fault]]:
    """Return the source with its groups and auxiliary labels, and the faults of both."""
    faults: list[Fault] = []
    try:
        if asked.group_regex:
            source = group_by_regex(source, asked.group_regex)
        else:
            source = group_by_column(source, asked.group)
    except InputError as error:
        faults += error.faults
    try:
        source = label_aux(source, asked.aux, asked.aux_kind)
    except InputError as error:
        faults += error.faults
    return source, faults


def _column_faults(asked: DataRequest) -> list[Fault]:
    """The faults of groups and of the auxiliary task in a manifest whose rows have faults."""
    if asked.train or not is_manifest(asked.data):
        return []
    try:
        return _add_columns(cells_alone(user_path(asked.data)), asked)[1]
    except InputError:  # It can't be read, which is told.
        return []


def unread_faults(asked: DataRequest) -> Iterator[Fault]:
    """Yield what `find_data` refuses of data without a table, which need not be there yet."""
    if asked.root:
        yield Fault("--root", f"{asked.root}: {_NO_ROOT}")
    if asked.group:
        yield Fault("--group", f"{asked.group}: {grouping.NO_COLUMN}")
    if asked.aux not in BUILT_IN_TASKS:
        yield Fault("--aux", f"{asked.aux}: {aux_column.NO_COLUMN}")


def _find(asked: DataRequest, cache: Path) -> Source:
    if asked.root and (asked.train or not is_manifest(asked.data)):
        raise InputError([Fault("--root", f"{asked.root}: {_NO_ROOT}")])
    if asked.train:
        named: dict[Part, str | Path | None]
        named = {"train": asked.train, "val": asked.val, "test": asked.test}
        folders = {part: user_path(name) for part, name in named.items() if name}
        shown = {part: printable(str(name)) for part, name in named.items() if name}
        why = "there is no such folder"
        gone = [part for part, folder in folders.items() if not folder.is_dir()]
        if gone:
            raise InputError(Fault(f"--{part}", f"{shown[part]}: {why}") for part in gone)
        name = printable(str(folders["train"]))
        starts = {part: part for part in folders}
        return _checked(join_parts(folders, starts, shown, asked.selection, name), asked)
    if asked.data in BUILT_IN:
        return _built_in(asked.data, cache)
    if is_manifest(asked.data):
        given = {"--include": asked.selection.include, "--exclude": asked.selection.exclude}
        why = "is not read with a manifest; take those rows out of the table"
        if faults := [Fault(flag, why) for flag, globs in given.items() if globs]:
            raise InputError(faults)
        root = None if asked.root is None else user_path(asked.root)
        if root is not None and not root.is_dir():
            raise InputError([Fault("--root", f"{asked.root}: there is no such folder")])
        return manifest_source(user_path(asked.data), root)
    if parts := split_source(user_path(asked.data), asked.selection):
        return _checked(parts, asked)
    return find_source(asked.data, cache, asked.selection)


def _built_in(name: str | Path, cache: Path) -> Source:
    source = find_source(name, cache)
    if not Path(name).is_dir():
        return source
    note = f"{name} is the built-in data set; the folder of this name is --data ./{name}"
    return replace(source, notes=(*source.notes, note))


def _checked(source: Source, asked: DataRequest) -> Source:
    if faults := [*asked.selection.unused()]:
        raise InputError(faults)
    return source
