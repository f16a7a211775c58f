"""Files that look like masks or copies of others: a network that sees them scores too well."""

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from tl_core.data.scanning.layouts import PICTURES
from tl_core.text import pluralize, printable

_MASK_WORDS = re.compile(
    r"(?<![a-z])(masks?|seg(mentations?)?|labels?|annot(ation)?s?|ground.?truths?|gt|depth|mattes?"
    r"|trimaps?|contours?|overlays?|heat.?maps?|saliency|silhouettes?|alpha)(?![a-z])"
)
_PHOTO_WORDS = re.compile(
    r"(?<![a-z])(images?|imgs?|photos?|pictures?|rgb|raw|jpe?gimages?)(?![a-z])"
)
_BREAK = re.compile(r"[_\-. ]")
_FEW = 0.1
"""Share of the files from which any shared ending is named, not only the words of masks."""
_PAIRED = 0.5
"""Share of a folder's files that must have the name of another folder's file."""
_WHY = "A network that learns from masks or copies scores too well"


def mask_notes(ids: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each pattern of names that masks or copies of other files have.

    Args:
        ids: paths of the files below the data folder, the first part of each is its class.
    """
    paths = [*map(PurePosixPath, ids)]
    found = [*_same_folder(paths), *_folders_beside(paths), *_two_classes(paths)]
    yield from found


def _same_folder(paths: Sequence[PurePosixPath]) -> Iterator[str]:
    """`x_mask.png` beside `x.png`, and `x.png` beside `x.jpg`."""
    pairs: dict[tuple[str, str], list[tuple[PurePosixPath, PurePosixPath]]] = defaultdict(list)
    first = {(path.parent, path.stem): path for path in reversed(paths)}
    for path in paths:
        suffix = path.suffix.lower()
        if suffix not in PICTURES:
            continue
        beside = first[path.parent, path.stem]
        if beside != path and beside.suffix.lower() in PICTURES:
            kinds = sorted({beside.suffix.lower(), suffix})
            pairs["", ".png" if ".png" in kinds else kinds[-1]].append((path, beside))
        for cut in _BREAK.finditer(path.stem):
            stem, ending = path.stem[: cut.start()], path.stem[cut.start() :]
            plain = re.sub(r"[_\-. ]?\d+$", "", ending)
            if (path.parent, stem) in first and re.search("[A-Za-z]", plain):
                glob = f"*{plain}.*" if plain == ending else f"*{plain}*"
                pairs[plain, glob].append((path, first[path.parent, stem]))
                break
    for (ending, glob), found in pairs.items():
        known = not ending or _MASK_WORDS.search(ending.lower())
        if known or len(found) >= _FEW * len(paths):
            what = (
                f"the name of another one and {ending!a}" if ending else "the name of another one"
            )
            which = f"{_share(len(found), len(paths))} have {what}"
            pattern = glob if ending else f"*{glob}"
            yield _sentence(which, *found[0], pattern)


def _folders_beside(paths: Sequence[PurePosixPath]) -> Iterator[str]:
    """`cat/masks/` beside `cat/images/`."""
    files: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in paths:
        # All folders on the way, but the class's own: `cat/masks/2024/x.png` lies in masks, too.
        for folder in path.parents[:-2]:
            files[folder].append(path)
    siblings: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for folder in files:
        siblings[folder.parent].append(folder)
    masks: dict[str, list[tuple[PurePosixPath, PurePosixPath]]] = defaultdict(list)
    photos_of = {parent: _photo_folders(found, files) for parent, found in siblings.items()}
    plain_of = {parent: _first_plain(found) for parent, found in siblings.items()}
    for folder in files:
        if _has(_MASK_WORDS, folder):
            other = plain_of[folder.parent]
        else:
            other = _photos_of(folder, files[folder], photos_of[folder.parent])
        if other:
            masks[folder.name] += [(path, other) for path in files[folder]]
    for name, found in masks.items():
        which = f"{_share(len(found), len(paths))} lie in folders with the name {name!a}"
        yield _sentence(which, *found[0], name)


_Files = Mapping[PurePosixPath, Sequence[PurePosixPath]]


def _has(words: re.Pattern[str], folder: PurePosixPath) -> bool:
    return bool(words.search(folder.name.lower()))


def _first_plain(folders: Sequence[PurePosixPath]) -> PurePosixPath | None:
    """The first folder without a word of masks."""
    return next((folder for folder in folders if not _has(_MASK_WORDS, folder)), None)


def _photo_folders(
    folders: Sequence[PurePosixPath], files: _Files
) -> dict[PurePosixPath, set[PurePosixPath]]:
    """The names of the files in each folder with a word of photos."""
    found = [folder for folder in folders if _has(_PHOTO_WORDS, folder)]
    if len(found) == len(folders):  # Nothing to compare them with.
        return {}
    return {folder: {*_names(folder, files[folder])} for folder in found}


def _photos_of(
    folder: PurePosixPath,
    files: Sequence[PurePosixPath],
    photos: Mapping[PurePosixPath, set[PurePosixPath]],
) -> PurePosixPath | None:
    """The folder of the photos that the files of a folder of any other name belong to."""
    if not photos or _has(_PHOTO_WORDS, folder):
        return None
    names = _names(folder, files)
    return next((other for other, theirs in photos.items() if _paired(names, theirs)), None)


def _names(folder: PurePosixPath, files: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    return [path.relative_to(folder).with_suffix("") for path in files]


def _paired(names: Sequence[PurePosixPath], theirs: set[PurePosixPath]) -> bool:
    return sum(name in theirs for name in names) >= _PAIRED * len(names)


def _two_classes(paths: Sequence[PurePosixPath]) -> Iterator[str]:
    """Classes `images` and `masks`, whose files have the same names."""
    files: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for path in paths:
        if len(path.parts) > 1:  # A class folder that can't be read stands for its files.
            files[PurePosixPath(path.parts[0])].append(path)
    photos = [name for name in files if _PHOTO_WORDS.fullmatch(name.name.lower())]
    for other in photos:
        theirs = {*_names(other, files[other])}
        for folder in files:
            if folder != other and _paired(_names(folder, files[folder]), theirs):
                yield (
                    f"classes {printable(other.name)!r} and {printable(folder.name)!r} have files "
                    "of the same names: photos and their masks, not two classes? --data takes the "
                    "folder whose sub-folders are the classes"
                )


def _share(n: int, of: int) -> str:
    return f"{n:,} of {pluralize(of, 'file')}"


def _sentence(which: str, path: PurePosixPath, beside: PurePosixPath, glob: str) -> str:
    example = f"{printable(str(path))} beside {printable(str(beside))}"
    return (
        f"{which} ({example}). {_WHY}: leave them out with --exclude {shlex.quote(printable(glob))}"
    )
