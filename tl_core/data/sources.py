"""Where labelled images come from: a folder of class sub-folders, Oxford-IIIT Pet, or the demo."""

import hashlib
import json
import os
import tarfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tl_core.data import demo
from tl_core.data.decode import open_rgb
from tl_core.data.folders import files_below, is_passed_over
from tl_core.errors import InputError, truncate_list
from tl_core.files import user_path
from tl_core.text import printable

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")


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
    default = (seed, n_images) == (0, demo.N_IMAGES)
    return Source(
        name="demo (drawn cats and dogs)",
        classes=demo.CLASSES,
        ids=tuple(f"drawn-{seed}-{i:05d}" for i in range(n_images)),
        labels=tuple(i % 2 for i in range(n_images)),
        fingerprint=demo.DRAWING if default else _hash(["demo", seed, n_images, demo.DRAWING]),
        read=lambda i, size: demo.draw(i, seed, size),
    )


def folder_source(root: Path) -> Source:
    """Scan a folder with one sub-folder a class; files may lie at any depth below it.

    Raises `InputError` with every class folder that has no files, or the same name as another.
    """
    root = Path(os.path.realpath(root))  # Which, unlike Path.resolve, takes a loop of links.
    classes = _class_names(root)
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in files_below(root / name, within=root)
    ]
    filled = {label for _, label in files}
    empty = [name for label, name in enumerate(classes) if label not in filled]
    faults = [
        *_twins(classes),
        *truncate_list(f"class folder {root / name} has no files" for name in empty),
    ]
    if faults:
        raise InputError(faults)
    ids = tuple(path.relative_to(root).as_posix() for path, _ in files)
    return _of_files(printable(str(root)), classes, ids, files)


def oxford_pet_source(root: Path) -> Source:
    """Oxford-IIIT Pet (Parkhi et al., CVPR 2012), cat against dog, downloaded on first use."""
    from torchvision.datasets import OxfordIIITPet

    try:
        with _unpacking_inside():
            OxfordIIITPet(root, download=True)
        files = sorted([*_pets(root, "trainval"), *_pets(root, "test")])
        ids = tuple(path.name for path, _ in files)
        return _of_files("oxford-pet", ("cat", "dog"), ids, files)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise InputError([_no_oxford_pet(root, error)]) from error


def has_oxford_pet(cache: Path) -> bool:
    """Whether `find_source` needs no download of Oxford-IIIT Pet."""
    base = cache / "oxford-pet" / "oxford-iiit-pet"
    return all((base / part).is_dir() for part in ("images", "annotations"))


@contextmanager
def _unpacking_inside() -> Iterator[None]:
    """Have archives refused that would write, or link, outside their folder (PEP 706)."""
    if not hasattr(tarfile, "data_filter"):
        raise RuntimeError("Python before 3.11.4 can't unpack archives safely")
    usual = tarfile.TarFile.extraction_filter
    # For the whole process, as torchvision lets nobody choose: it extracts without a filter.
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = usual


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
        raise InputError([f"data folder {root} {_no_folder(root)}"])
    names = sorted(p.name for p in root.iterdir() if _is_class(p, root))
    if len(names) < 2:
        found = f"only {names[0]!r}" if names else "none"
        raise InputError(
            [f"data folder {root} needs one sub-folder a class, two or more; found {found}"]
        )
    return tuple(names)


def _no_folder(path: Path) -> str:
    expected = "a folder, demo or oxford-pet is expected"
    if not path.exists():
        return f"does not exist; {expected}"
    if path.name.lower().endswith(_ARCHIVES):
        return "is an archive; unpack it and give the folder that comes out"
    return f"is a file, not a folder; {expected}"


def _is_class(path: Path, root: Path) -> bool:
    if is_passed_over(path.name) or not path.is_dir():
        return False
    # A link that leads back up would be a class that holds the images of all the others.
    return not root.is_relative_to(os.path.realpath(path))


def _twins(classes: tuple[str, ...]) -> Iterator[str]:
    """Tell of names that read the same: a copy from another system, not another class."""
    first: dict[str, str] = {}
    for name in classes:
        twin = first.setdefault(unicodedata.normalize("NFC", name), name)
        if twin is not name:
            yield (
                f"class folders {twin!a} and {name!a} have the same name in two "
                "encodings (Unicode NFC and NFD); merge them, or rename one"
            )


def _of_files(
    name: str, classes: tuple[str, ...], ids: tuple[str, ...], files: list[tuple[Path, int]]
) -> Source:
    states = [(path, _state(path)) for path, _ in files]
    seen = [[str(path), state.st_size, state.st_mtime_ns] for path, state in states]
    return Source(
        name=name,
        classes=classes,
        ids=ids,
        labels=tuple(label for _, label in files),
        fingerprint=_hash([classes, [label for _, label in files], seen]),
        read=lambda i, size: open_rgb(files[i][0]),
    )


def _state(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError:
        # A link to nowhere has a state of its own; it is told with the files that can't be read.
        return path.lstat()


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
