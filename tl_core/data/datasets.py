"""ImageSet: all images, decoded once into one uint8 array in a memory-mapped cache."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tl_core.aux_task import BRIGHTNESS
from tl_core.config import LARGEST_SIZE, SMALLEST_SIZE, Resize
from tl_core.data.caching.entries import MANIFEST
from tl_core.data.decode import as_rgb
from tl_core.data.given.aux_labels import AuxLabels, keep_aux, open_aux
from tl_core.data.image_entries import decoded, image_entry
from tl_core.data.reading.deep import Depth, Levels
from tl_core.data.reading.kinds import (
    describe_failure,
    fault_of_machine,
    format_bad,
    not_read_again,
)
from tl_core.data.sources import Source
from tl_core.data.splits import Split, make_split
from tl_core.data.splitting.copies import UnfinishedSearchError, copies_entry, find_copies
from tl_core.data.splitting.join import copy_notes, join_rules, unread_notes
from tl_core.data.splitting.rules import NO_RULES, PartSizes, SplitRules, keep_rules, open_rules
from tl_core.errors import Fault, InputError, truncate_list
from tl_core.files import user_path

_KEPT_SPLITS, _KEPT_INDICES = 256, 2**26
"""The most splits that are kept, and the most indices that they have together, 512 MB; but 8 at
least. A search comes back to each of its train ratios and seeds in turn."""


@dataclass(frozen=True)
class ImageSet:
    """N decoded images with their labels."""

    name: str
    key: str
    """Name of the cache entry: a hash of the files' paths, sizes, times and the settings, and one
    of the names of those that can't be decoded."""
    path: Path
    """The cache entry; `ImageSet.open(path)` opens it in another process without a copy."""
    classes: tuple[str, ...]
    ids: tuple[str, ...] = field(repr=False)
    """A stable name for each image, N."""
    pixels: np.ndarray = field(repr=False)
    """uint8 [N, 3, S, S], memory-mapped and read-only."""
    labels: np.ndarray = field(repr=False)
    """int64 [N], index into `classes`."""
    brightness: np.ndarray = field(repr=False)
    """float32 [N] in [0, 1]: mean over pixels and channels before normalisation."""
    bad: tuple[tuple[str, str], ...] = ()
    """(path, reason) of each file that could not be decoded and is omitted."""
    resize: Resize = "squash"
    """How the pictures became squares."""
    scales: Mapping[Depth, Levels] = field(default_factory=dict)
    """Of pictures with more than 8 bits: the values that became black and white."""
    deep: Mapping[Depth, int] = field(default_factory=dict)
    """How many of them there are."""
    rules: SplitRules = NO_RULES
    """The parts that are given, and groups."""
    rules_path: Path | None = None
    """The cache entry of the rules; None if there are none."""
    own_aux: AuxLabels | None = None
    """Labels of an auxiliary task of the user's, or of none; None for brightness."""
    aux_path: Path | None = None
    """The cache entry of these labels."""
    notes: tuple[str, ...] = ()
    """How the data were understood; only where they were decoded."""

    @property
    def aux(self) -> AuxLabels:
        """What the second head learns."""
        return self.own_aux or AuxLabels(BRIGHTNESS, self.brightness)

    def split(self, train_ratio: float, split_seed: int = 0, seed: int = 0) -> Split:
        """Split the images: by the parts that are given, whole groups, and copies of a photo.

        Args:
            train_ratio: training images as a share of all, up to 0.8; of the given training part
                if there is one.
            split_seed: draws the held-out parts that are not given.
            seed: draws the training images; a smaller ratio takes part of those of a larger one.

        The last ones are kept, so callers must not change them. Raises `InputError` if a value is
        out of range or a class would be missing from a part.
        """
        return self._split(train_ratio, split_seed, seed)

    @cached_property
    def _split(self) -> Callable[[float, int, int], Split]:
        draw = partial(make_split, self.labels, rules=self.rules, classes=self.classes)
        return lru_cache(max(8, min(_KEPT_SPLITS, _KEPT_INDICES // len(self.labels))))(draw)

    def __getstate__(self) -> dict[str, Any]:
        """All but the splits that are kept, which can't be pickled and are soon drawn again."""
        return {name: value for name, value in vars(self).items() if name != "_split"}

    @property
    def sizes(self) -> PartSizes:
        """How many images train ratios are shares of, and how many the held-out parts have."""
        return self.rules.sizes(len(self.labels))

    @property
    def image_size(self) -> int:
        """Side of the square images, pixels."""
        return int(self.pixels.shape[-1])

    @cached_property
    def content(self) -> str:
        """A hash of the pixels and labels, which a copy of the files shares; unlike `key`.

        That of a data set that is made up, without hashes beside it, is its key.
        """
        if not (self.path / MANIFEST).exists():
            return self.key
        hashes = (self.path / MANIFEST).read_text(encoding="utf-8").splitlines()
        kept = [line for line in hashes if line.endswith((" pixels.npy", " labels.npy"))]
        return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:24]

    @classmethod
    def open(cls, path: Path, rules: Path | None = None, aux: Path | None = None) -> "ImageSet":
        """Open a cache entry by memory map, with those of its rules and labels, if it has some."""
        about = json.loads((path / "about.json").read_text(encoding="utf-8"))
        return cls(
            name=about["name"],
            key=path.name,
            path=path,
            classes=tuple(about["classes"]),
            ids=tuple(about["ids"]),
            pixels=np.load(path / "pixels.npy", mmap_mode="r"),
            labels=np.load(path / "labels.npy"),
            brightness=np.load(path / "brightness.npy"),
            bad=tuple((name, reason) for name, reason in about["bad"]),
            resize=about.get("resize", "squash"),  # Data sets that are made up do not say.
            scales={depth: Levels(*both) for depth, both in about.get("scales", {}).items()},
            deep=about.get("deep", {}),
            rules=open_rules(rules) if rules else NO_RULES,
            rules_path=rules,
            own_aux=open_aux(aux) if aux else None,
            aux_path=aux,
        )


def load_images(
    source: Source,
    image_size: int,
    cache: str | Path,
    skip_bad_images: bool = False,
    resize: Resize = "squash",
    end: float | None = None,
) -> ImageSet:
    """Open the decoded images of `source`; decode them first if the cache does not have them.

    The cached images are verified by hash. If they are damaged, they are decoded again, with a
    warning. So are they if a file that could not be decoded now can.

    Args:
        source: the images.
        image_size: side of the square images, 16 to 1024 pixels.
        cache: folder of the cache.
        skip_bad_images: omit the files that can't be decoded.
        resize: how a picture becomes a square (`tl_core.data.decode.to_square`).
        end: when to stop, by `time.monotonic`.

    Raises:
        InputError: the size is out of range; or names every file that can't be decoded, unless
            `skip_bad_images`; or every class that has no readable image; or that one could not be
            read for a fault of the machine; or that `end` is too soon to find copies, among images
            that were there.
        OutOfTimeError: not all could be decoded before `end`, or copies could not be found; the
            next call goes on there. Or another process still makes an entry of the cache.
    """
    if not SMALLEST_SIZE <= image_size <= LARGEST_SIZE:
        bounds = f"must be from {SMALLEST_SIZE} to {LARGEST_SIZE}"
        raise InputError([f"image_size {image_size} {bounds}"])
    cache = user_path(cache)
    there = image_entry(source, image_size, cache, resize).exists()
    images = ImageSet.open(decoded(source, image_size, cache, resize, end))
    if images.bad and not skip_bad_images:
        raise InputError(format_bad(images.bad))
    empty = sorted(set(range(len(source.classes))) - set(images.labels.tolist()))
    if empty:
        faults = (f"class {source.classes[i]!r} has no readable image" for i in empty)
        raise InputError(truncate_list(faults))
    try:
        return with_labels(images, source, cache, end)
    except UnfinishedSearchError as over:
        if not there:
            raise
        why = "is too short: the search for copies among the images takes longer, and begins anew"
        raise InputError([Fault("--max-time", f"{why} each time; choose a longer one")]) from over


def with_labels(
    images: ImageSet, source: Source, cache: Path, end: float | None = None
) -> ImageSet:
    """Add what the source says of the images that are left, and copies: the split's rules, and
    auxiliary labels.

    Raises `InputError` if a given part has no image left or an image can't be read any more, and
    `OutOfTimeError` as `load_images`.
    """
    number = {name: i for i, name in enumerate(source.ids)}
    rows = np.array([number[name] for name in images.ids], np.int64)

    def read(i: int, size: int) -> Image.Image:
        try:
            return as_rgb(source.read(i, size), images.scales)
        except Exception as error:  # Decoders may raise any error on a broken file.
            name, reason = source.ids[i], describe_failure(error)
            why = fault_of_machine(name, error) or not_read_again(name, reason)
            raise InputError([why]) from error

    copies = find_copies(copies_entry(cache, images.key), images.pixels, read, rows, end)
    given = source.rules.only(rows)
    unread = [*unread_notes(source.rules, given)]
    rules = join_rules(given, copies.near)
    found = copy_notes(copies, images.labels, images.ids, images.classes, given, rules)
    # Other manifests may list the same images, so the name is not that of the cache entry.
    known = replace(images, name=source.name, notes=(*source.notes, *unread, *found))
    if source.aux:
        aux = source.aux.only(rows)
        known = replace(known, own_aux=aux, aux_path=keep_aux(aux, cache, end))
    if rules.is_plain():
        return known
    return replace(known, rules=rules, rules_path=keep_rules(rules, cache, end))
