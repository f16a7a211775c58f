"""Where labelled images come from: a folder of class sub-folders, Oxford-IIIT Pet, or the demo."""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tl_core.data import demo
from tl_core.data.caching.entries import tag_cache
from tl_core.data.decode import Picture, open_picture
from tl_core.data.given.aux_labels import AuxLabels
from tl_core.data.scanning.class_folders import scan_classes
from tl_core.data.scanning.selection import ALL, Selection
from tl_core.data.splitting.rules import NO_RULES, SplitRules
from tl_core.errors import InputError
from tl_core.files import LFS_REMEDY, is_lfs_pointer, user_path
from tl_core.text import pluralize, printable


@dataclass(frozen=True)
class Source:
    """N labelled images on disk, of which each can be decoded alone."""

    name: str
    """Its name in messages: `demo (drawn cats and dogs)`, `oxford-pet` or the folder's path."""
    classes: tuple[str, ...]
    ids: tuple[str, ...] = field(repr=False)
    """A stable name for each image, N; in a folder its relative path."""
    labels: tuple[int, ...] = field(repr=False)
    """Index into `classes`, N."""
    fingerprint: str
    """Hash of everything that decides the pixels, except the image size."""
    read: Callable[[int, int], Picture]
    """(number of the image, wanted side in pixels) -> picture of any size, for `to_square`."""
    rules: SplitRules = NO_RULES
    """The parts that are given, and groups; copies are not known before images are decoded."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """All columns of a manifest, N cells each, as text."""
    lines: tuple[str, ...] = field(default=(), repr=False)
    """Where a manifest has each image, N, such as `line 5`."""
    aux: AuxLabels | None = None
    """Labels of the auxiliary task; None for brightness, which follows from the pixels."""
    group_names: tuple[str | None, ...] = field(default=(), repr=False)
    """The group of each image, N, None where it has none; empty without groups."""
    notes: tuple[str, ...] = ()
    """How the data were understood, what was passed over, what looks like masks."""


def find_source(data: str | Path, cache: Path, selection: Selection = ALL) -> Source:
    """Return the source that `--data` names.

    Args:
        data: `demo`, `oxford-pet`, or the path of a folder with one sub-folder per class.
        cache: folder for downloads.
        selection: the files of a folder that are used.

    Raises:
        InputError: names every fault of the folder, or why Oxford-IIIT Pet is unavailable.
    """
    if data == "demo":
        return demo_source()
    if data == "oxford-pet":
        return oxford_pet_source(cache / "oxford-pet")
    return folder_source(user_path(data), selection)


def demo_source() -> Source:
    """Return the drawn cats and dogs."""
    return Source(
        name="demo (drawn cats and dogs)",
        classes=demo.CLASSES,
        ids=tuple(f"drawn-0-{i:05d}" for i in range(demo.N_IMAGES)),
        labels=tuple(i % 2 for i in range(demo.N_IMAGES)),
        fingerprint=demo.DRAWING,
        read=demo.draw,
    )


def folder_source(root: Path, selection: Selection = ALL) -> Source:
    """Scan a folder with one sub-folder per class; see `scan_classes`."""
    root = Path(os.path.realpath(root))  # Unlike Path.resolve, it accepts a loop of links.
    scan = scan_classes(root, selection)
    files = [*zip(scan.files, scan.labels, strict=True)]
    return files_source(printable(str(root)), scan.classes, scan.ids, files, notes=scan.notes)


def oxford_pet_source(root: Path) -> Source:
    """Oxford-IIIT Pet (Parkhi et al., CVPR 2012), cats and dogs, downloaded on first use."""
    from torchvision.datasets import OxfordIIITPet

    try:
        tag_cache(root)
        if not _is_unpacked(root):
            with _safe_extraction():
                OxfordIIITPet(root, download=True)
        files = sorted([*_pets(root, "trainval"), *_pets(root, "test")])
        ids = tuple(path.name for path, _ in files)
        return files_source("oxford-pet", ("cat", "dog"), ids, files)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise InputError(
            [
                f"oxford-pet could not be downloaded ({error}). Put images.tar.gz and "
                "annotations.tar.gz of the Oxford-IIIT Pet dataset, unpacked, into "
                f"{root / 'oxford-iiit-pet'}, or use --data demo or --data FOLDER"
            ]
        ) from error


def has_oxford_pet(cache: Path) -> bool:
    """Whether `find_source` needs no download of Oxford-IIIT Pet."""
    return _is_unpacked(cache / "oxford-pet")


def _is_unpacked(root: Path) -> bool:
    return all((root / "oxford-iiit-pet" / part).is_dir() for part in ("images", "annotations"))


@contextmanager
def _safe_extraction() -> Iterator[None]:
    """Refuse archives that would write, or link, outside their folder (PEP 706)."""
    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError("Python before 3.11.4 can't unpack archives safely")
    before = tarfile.TarFile.extraction_filter
    # For the whole process, because torchvision sets no filter and has no argument for one.
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before


def _pets(root: Path, part: str) -> Iterator[tuple[Path, int]]:
    # Read here, because torchvision's own class returns decoded images.
    base = root / "oxford-iiit-pet"
    for line in (base / "annotations" / f"{part}.txt").read_text(encoding="utf-8").splitlines():
        name, _, species, _ = line.split()
        yield base / "images" / f"{name}.jpg", int(species) - 1


def files_source(
    name: str,
    classes: tuple[str, ...],
    ids: tuple[str, ...],
    files: list[tuple[Path, int]],
    kind: Literal["folder", "manifest"] = "folder",
    notes: tuple[str, ...] = (),
) -> Source:
    """Return the source of N files, each with its label.

    The ids of a manifest's images are as they are written there, so they are part of the
    fingerprint; those of a folder follow from the files.
    """
    states = [(path, _state(path)) for path, _ in files]
    if all(is_lfs_pointer(path, state) for path, state in states):
        n = pluralize(len(files), "file")
        raise InputError([f"all {n} of {name} are pointers of Git LFS, not images; {LFS_REMEDY}"])
    seen = [
        [str(path), *((state.st_size, state.st_mtime_ns) if state else (0, 0))]
        for path, state in states
    ]
    return Source(
        name=name,
        classes=classes,
        ids=ids,
        labels=tuple(label for _, label in files),
        fingerprint=_hash(
            [classes, [label for _, label in files], seen, *([ids] if kind == "manifest" else [])]
        ),
        read=lambda i, size: open_picture(files[i][0]),
        notes=notes,
    )


def _state(path: Path) -> os.stat_result | None:
    """The state of a file; of a broken link its own. Both are reported with the unreadable files.

    None in a folder whose names can be listed and no more (r without x).
    """
    try:
        with suppress(OSError):
            return path.stat()
        return path.lstat()
    except PermissionError:
        return None


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
