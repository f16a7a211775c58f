"""The entries of the cache that hold a source's decoded images."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tl_core.config import Resize
from tl_core.data.caching.entries import damage, publish
from tl_core.data.caching.tables import rows_kept
from tl_core.data.decode_source import ABOUT, decode_source, unreadable
from tl_core.data.sources import Source

FORMAT = 4
"""Part of every cache key: increase it when decoded pixels change their meaning. Earlier ones had
other levels for some deep pictures, and the same for all others."""


def image_entry(source: Source, image_size: int, cache: Path, resize: Resize = "squash") -> Path:
    """Path of the decoded images of a source in a cache, which need not be there yet.

    If files are known that can't be decoded, its name tells which. So features, and all else that
    is made of the other images, are made again once such a file can be read.
    """
    entry = _listing(source, image_size, cache, resize)
    with suppress(OSError, ValueError):  # There is none yet, or it is damaged.
        return _lacking_entry(entry)
    return entry


def images_kept(source: Source, image_size: int, cache: Path, resize: Resize) -> int:
    """How many images were decoded before the work was stopped."""
    return rows_kept(_listing(source, image_size, cache, resize))


def decoded(
    source: Source, image_size: int, cache: Path, resize: Resize, end: float | None = None
) -> Path:
    """Decode the images of a source, unless the cache has them; return `image_entry`.

    Raises `OutOfTimeError` at `end`, by `time.monotonic`, also where another process decodes them.
    """

    def build(into: Path) -> None:
        decode_source(source, image_size, resize, into, end)
        if bad := _bad_in(into):
            _move(into, entry.with_name(entry.name + lacking(bad)), end)

    def fault(entry: Path) -> str | None:
        return damage(entry) or _outdated(entry, source, image_size)

    entry = _listing(source, image_size, cache, resize)
    publish(entry, build, fault, end)
    return _lacking_entry(entry)


def lacking(names: Iterable[str]) -> str:
    """What the name of an entry ends with that lacks these files, which can't be decoded."""
    known = json.dumps(sorted(names))
    return "" if known == "[]" else f"-lacks-{hashlib.sha256(known.encode()).hexdigest()[:12]}"


def _listing(source: Source, image_size: int, cache: Path, resize: Resize) -> Path:
    """The entry of a source's images if all can be decoded; else it only lists those that can't."""
    suffix = "" if resize == "squash" else f"-{resize}"
    return cache / "images" / f"{source.fingerprint[:24]}-{image_size}-v{FORMAT}{suffix}"


def _lacking_entry(listing: Path) -> Path:
    return listing.with_name(listing.name + lacking(_bad_in(listing)))


def _bad_in(entry: Path) -> list[str]:
    about = json.loads((entry / ABOUT).read_text(encoding="utf-8"))
    return [name for name, _ in about["bad"]]


def _move(built: Path, entry: Path, end: float | None) -> None:
    """Make an entry of what was built for another one, to which only its list is left."""

    def build(into: Path) -> None:
        shutil.copy(built / ABOUT, into)
        for file in others:
            file.rename(into / file.name)

    others = [file for file in built.iterdir() if file.name != ABOUT]
    publish(entry, build, end=end)
    for file in others:
        file.unlink(missing_ok=True)  # The entry may have been there already.


def _outdated(listing: Path, source: Source, size: int) -> str | None:
    """Why a list can't be used: the other images are not there, or a bad file is readable now."""
    if not (bad := {*_bad_in(listing)}):
        return None
    if not (entry := _lacking_entry(listing)).exists():  # Somebody has removed it.
        return f"there is no {entry.name}"
    if why := damage(entry):
        return why
    tried = [i for i, name in enumerate(source.ids) if name in bad]
    still = {name for name, _ in unreadable(source, size, tried)}
    # They may have been locked before.
    now = next((source.ids[i] for i in tried if source.ids[i] not in still), None)
    return f"{now} is readable now" if now else None
