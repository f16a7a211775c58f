"""How the data of a study differ from those that it began with, or that they are gone."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tl_core.data.datasets import ImageSet
from tl_core.errors import truncate_list
from tl_core.files import is_there
from tl_core.text import pluralize, printable

_NAMED = 5
"""Files or classes that an error names."""


def describe_changes(data: Mapping[str, Any], images: ImageSet) -> str:
    """Return what has changed, and the ways out; `data` is the part of study.json on the data.

    A study records its classes alone. Files are compared if the cache still has the images that it
    began with. Else, and where only pixels differ, hashes tell that there is a change.
    """
    again = _readable_again(data.get("skipped", ()), images)
    lines, way_out = [*_classes(data["classes"], images)], "put the data back as they were"
    if was := _begun_with(images.path.parent / data["key"]):
        lines += _files(was, images, known=again)
        if not lines and not again and was.ids != images.ids:  # Folders are sorted.
            lines = ["the rows of the table are in another order, by which images are split"]
            way_out = "put them back in their order"
    elif not again:
        lines += _counts(data["classes"], images)
    if again:
        if not lines:  # Nobody can make it unreadable again.
            way_out = f"take {'it' if len(again) == 1 else 'them'} out of the data"
        were = _some(again, "file that it left out", "files that it left out")
        lines.append(f"{were} can be read now")
    if not lines:
        before = data.get("content", data["key"])
        lines = [f"content hash was {before}, now {images.content}"]
    return f"{', '.join(lines)}; {way_out}, or start a new study"


def describe_renames(data: Mapping[str, Any], images: ImageSet) -> str | None:
    """Return which files have other names, if pixels and labels are the same, and the way out.

    None if no file was renamed, or the cache has the images no more that the study began with.
    """
    was = _begun_with(images.path.parent / data["key"])
    if was is None or was.content != images.content:
        return None
    both = zip(was.ids, images.ids, strict=True)  # The same pixels in the same order.
    if not (renamed := [f"{before} to {now}" for before, now in both if before != now]):
        return None
    files = _some(renamed, "file was renamed", "files were renamed")
    return f"{files}; put the {'name' if len(renamed) == 1 else 'names'} back, or start a new study"


def describe_absence(gone: Sequence[Path], name: str, folder: Path) -> str:
    """Return how to go on with a study whose data are not found.

    Args:
        gone: paths as its settings name them, with nothing there; relative ones are relative to the
            folder that it was started in.
        name: of the data, as its study.json has it.
        folder: the study's own.
    """
    named = printable(", ".join(map(str, gone)))
    old = "that path" if len(gone) == 1 else "those paths"
    back = f"put the data back, or make a link at {old} to where they are now: {named}"
    if all(path.is_absolute() for path in gone):
        return back
    here, start = Path.cwd(), _started_in(gone, name)
    if start is None:
        known = "paths of this study are relative to the folder that it was started in"
        return f"{known}; this command runs in {here}: run it there, or, if it is there, {back}"
    if os.path.realpath(start) == os.path.realpath(here):
        return back
    there = f"paths of this study are relative to {start}, where it was started: run this command"
    by_path = f"name the study by its path, {folder.resolve()}"
    if all(is_there(start / path) for path in gone):
        return f"{there} there, and {by_path}"
    return f"{there} there, {by_path}, and {back}"


def _started_in(gone: Sequence[Path], name: str) -> Path | None:
    """The folder that a study was started in, if the whole path of its data tells it."""
    whole = Path(name)
    for path in gone:
        parts = Path(os.path.normpath(path)).parts
        if whole.is_absolute() and parts and whole.parts[-len(parts) :] == parts:
            return Path(*whole.parts[: -len(parts)])
    return None


def _readable_again(skipped: Sequence[str], images: ImageSet) -> list[str]:
    """Which files that the study could not read and left out are there now."""
    ids = {*images.ids}
    found = list[str]()
    for line in skipped:  # `NAME: REASON`; a name may have a colon.
        words = line.split(": ")
        starts = (": ".join(words[:n]) for n in range(1, len(words)))
        found += [name for name in starts if name in ids]
    return found


def _begun_with(entry: Path) -> ImageSet | None:
    """The images of a study's begin; None if the cache has them no more."""
    try:
        return ImageSet.open(entry)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _classes(was: Mapping[str, int], images: ImageSet) -> Iterator[str]:
    if missing := [name for name in was if name not in images.classes]:
        yield f"{_some(missing, 'class', 'classes')} missing"
    if added := [name for name in images.classes if name not in was]:
        yield f"{_some(added, 'class', 'classes')} added"


def _files(was: ImageSet, images: ImageSet, known: Sequence[str]) -> Iterator[str]:
    before, now = _by_name(was), _by_name(images)
    changed = [name for name in before if name in now and before[name] != now[name]]
    missing = [name for name in before if name not in now]
    added = [name for name in now if name not in before and name not in known]
    for names, what in ((missing, "missing"), (added, "added"), (changed, "changed")):
        if names:
            yield f"{_some(names, 'file', 'files')} {what}"


def _by_name(images: ImageSet) -> dict[str, tuple[str, float]]:
    """Class and brightness: nearly every change of a picture moves its mean, and that is quick."""
    classes = [images.classes[label] for label in images.labels.tolist()]
    seen = zip(classes, images.brightness.tolist(), strict=True)
    return dict(zip(images.ids, seen, strict=True))


def _counts(was: Mapping[str, int], images: ImageSet) -> Iterator[str]:
    """How many images the classes have that were there and are there."""
    now = Counter(images.classes[label] for label in images.labels.tolist())
    for name in was:
        if name in now and now[name] != was[name]:
            yield f"class {printable(name)!r} had {was[name]:,} images and has {now[name]:,}"


def _some(names: Iterable[str], thing: str, things: str) -> str:
    listed = list(names)
    shown = ", ".join(truncate_list(listed, _NAMED))
    return f"{pluralize(len(listed), thing, things)} ({printable(shown)})"
