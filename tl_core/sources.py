"""Where labelled images come from: a folder of class sub-folders, Oxford-IIIT Pet, or the demo."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tl_core import demo
from tl_core.errors import InputError
from tl_core.paths import user_path
from tl_core.pictures import open_rgb

# What file managers leave behind; a hidden file (leading dot) is passed over as well.
_SIDECARS = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Source:
    """N labelled images that can be read one by one, before any pixel is decoded."""

    name: str
    """What people call it: `demo (drawn)`, `oxford-pet`, or the folder's path."""
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    """One stable name an image, N; a folder's are paths relative to it."""
    labels: tuple[int, ...]
    """Index into `classes`, N."""
    fingerprint: str
    """Hash of all that decides the pixels, apart from the image size."""
    read: Callable[[int, int], Image.Image]
    """(number of the image, side in pixels) -> RGB image of any size."""


def find_source(data: str, cache: Path) -> Source:
    """Return the source that `--data` names.

    Raises `InputError` with every fault of the folder, or when a download is not to be had.
    """
    if data == "demo":
        return demo_source()
    if data == "oxford-pet":
        return oxford_pet_source(cache / "oxford-pet")
    return folder_source(user_path(data))


def demo_source(seed: int = 0, n_images: int = demo.N_IMAGES) -> Source:
    """Return the drawn cats and dogs."""
    return Source(
        name="demo (drawn cats and dogs)",
        classes=demo.CLASSES,
        ids=tuple(f"drawn-{seed}-{i:05d}" for i in range(n_images)),
        labels=tuple(i % 2 for i in range(n_images)),
        # The drawing is code: another drawing must not find the pictures of the old one.
        fingerprint=_hash(["demo", seed, n_images, Path(demo.__file__).read_text()]),
        read=lambda i, size: demo.draw(i, seed, size),
    )


def folder_source(root: Path) -> Source:
    """Scan a folder with one sub-folder a class; files may lie at any depth below it."""
    root = root.resolve()
    classes = _class_names(root)
    files = [
        (path, label) for label, name in enumerate(classes) for path in files_below(root / name)
    ]
    empty = [name for label, name in enumerate(classes) if label not in {at for _, at in files}]
    if empty:
        raise InputError(f"class folder {root / name} has no files" for name in empty)
    ids = tuple(path.relative_to(root).as_posix() for path, _ in files)
    return _of_files(str(root), classes, ids, files)


def oxford_pet_source(root: Path) -> Source:
    """Oxford-IIIT Pet (Parkhi et al., CVPR 2012), cat against dog, downloaded on first use."""
    from torchvision.datasets import OxfordIIITPet

    try:
        OxfordIIITPet(root, download=True)
        files = sorted([*_pets(root, "trainval"), *_pets(root, "test")])
        ids = tuple(path.name for path, _ in files)
        return _of_files("oxford-pet", ("cat", "dog"), ids, files)
    except (OSError, RuntimeError) as error:
        raise InputError([_no_oxford_pet(root, error)]) from error


def _pets(root: Path, part: str) -> Iterator[tuple[Path, int]]:
    # torchvision's own class gives images already decoded, so its lists are read here.
    base = root / "oxford-iiit-pet"
    for line in (base / "annotations" / f"{part}.txt").read_text().splitlines():
        name, _, species, _ = line.split()
        yield base / "images" / f"{name}.jpg", int(species) - 1


def _no_oxford_pet(root: Path, error: Exception) -> str:
    return (
        f"oxford-pet could not be downloaded ({error}). Put images.tar.gz and annotations.tar.gz "
        f"of the Oxford-IIIT Pet dataset, unpacked, into {root / 'oxford-iiit-pet'}, "
        "or use --data demo or --data FOLDER"
    )


def _class_names(root: Path) -> tuple[str, ...]:
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise InputError([f"data folder {root} {what}; a folder, demo or oxford-pet is expected"])
    names = sorted(p.name for p in root.iterdir() if _is_class(p, root))
    if len(names) < 2:
        found = f"only {names[0]!r}" if names else "none"
        raise InputError(
            [f"data folder {root} needs one sub-folder a class, two or more; found {found}"]
        )
    return tuple(names)


def _is_class(path: Path, root: Path) -> bool:
    if path.name.startswith(".") or not path.is_dir():
        return False
    # A link that leads back up would be a class that holds the images of all the others.
    return not root.is_relative_to(path.resolve())


def files_below(folder: Path) -> Iterator[Path]:
    """Every file at any depth, in order; not hidden ones, nor what file managers leave behind."""
    # os.walk does not follow links to folders, so a loop of links can't add images twice.
    for parent, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and name.lower() not in _SIDECARS:
                yield Path(parent, name)


def _of_files(
    name: str, classes: tuple[str, ...], ids: tuple[str, ...], files: list[tuple[Path, int]]
) -> Source:
    # A link to nowhere has a state of its own; it is told with the other files that can't be read.
    states = [path.stat() if path.exists() else path.lstat() for path, _ in files]
    seen = [
        [str(path), s.st_size, s.st_mtime_ns] for (path, _), s in zip(files, states, strict=True)
    ]
    return Source(
        name=name,
        classes=classes,
        ids=ids,
        labels=tuple(label for _, label in files),
        fingerprint=_hash([classes, [label for _, label in files], seen]),
        read=lambda i, size: open_rgb(files[i][0]),
    )


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
