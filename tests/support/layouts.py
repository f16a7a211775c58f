"""Labelled images as people keep them, drawn by hypothesis, with what is true of each."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tests.conftest import draw_stripes
from tests.support.studies.command_lines import Words

_NAMES = ["cat", "Cat", "2", "10", "a b", "größe", "猫", "x=1,y", "_z", "NA"]
_PARTS: dict[str, tuple[str, ...]] = {
    "train": ("train", "Training", "training_set"),
    "val": ("val", "valid", "dev"),
    "test": ("test", "testing"),
}
_FORMS = ["folder", "flags", ".csv", ".tsv", ".parquet"]
_COLUMN = {"weight": "regression", "coat": "classification", "radius": "regression"}
"""Auxiliary labels: some are missing, text, and numbers that are tiny in their unit."""


@dataclass(frozen=True)
class Photo:
    """An image and what is true of it."""

    path: str
    """Relative to the folder of all."""
    label: str
    part: str
    """Empty if no parts are given."""
    group: int
    pixels: int
    """Two with the same number are copies."""
    damaged: bool


@dataclass(frozen=True)
class Layout:
    """A data set on a disk; `words` name it on a command line."""

    photos: tuple[Photo, ...]
    form: str
    grouped: bool
    skips: bool
    """Whether it is said that damaged files are to be left out."""
    aux: str
    """A column, or empty."""
    places: tuple[tuple[str, str], ...]
    """What its parts are called."""

    def write(self, root: Path) -> Words:
        """Write all files; return the words that name them, relative to `root`."""
        for photo in self.photos:
            file = root / "data" / photo.path
            file.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng(photo.pixels)
            draw_stripes(photo.pixels % 3, rng).save(file)
            if photo.damaged:
                file.write_bytes(file.read_bytes()[:200])
        return (*self._data(root), *self._beside())

    def _data(self, root: Path) -> Iterator[str]:
        if self.form == "flags":
            for part, name in self.places:
                yield from (f"--{part}", f"data/{name}")
        elif self.form == "folder":
            yield from ("--data", "data")
        else:
            self._write_table(root / f"photos{self.form}")
            yield from ("--data", f"photos{self.form}", "--root", "data")

    def _write_table(self, file: Path) -> None:
        rows = [
            {"Path": p.path, "label": p.label, "weight": _weight(p), "coat": _coat(p)}
            | {"radius": _weight(p) and f"{int(_weight(p)) * 1e-7:g}"}
            | ({"split": p.part} if p.part else {})
            | ({"group": f"g{p.group}"} if self.grouped else {})
            for p in self.photos
        ]
        table = pd.DataFrame(rows)
        if file.suffix == ".parquet":
            table.to_parquet(file)
        else:
            separator = "\t" if file.suffix == ".tsv" else ","
            table.to_csv(file, sep=separator, index=False, quoting=csv.QUOTE_MINIMAL)

    def _beside(self) -> Iterator[str]:
        if self.grouped:
            is_table = self.form.startswith(".")
            yield from ("--group", "group") if is_table else ("--group-regex", r"g(\d+)_")
        if self.skips:
            yield "--skip-bad-images"
        if self.aux:
            yield from ("--aux", self.aux, "--aux-type", _COLUMN[self.aux])


def _weight(photo: Photo) -> str:
    return "" if photo.pixels % 5 == 0 else f"{1 + photo.pixels % 7}"


def _coat(photo: Photo) -> str:
    return ("long", "short")[photo.pixels % 2]


def has_label(photo: Photo, column: str) -> bool:
    """Whether a photo has a value in a column of the auxiliary task."""
    return column == "coat" or bool(_weight(photo))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """A data set that a study can be made of, unless damaged files are not left out."""
    classes = draw(st.lists(st.sampled_from(_NAMES), min_size=2, max_size=4, unique=True))
    form = draw(st.sampled_from(_FORMS))
    parts = draw(st.sampled_from([("train", "val", "test"), ("train", "test"), ("train", "val")]))
    if form != "flags" and draw(st.booleans()):
        parts = ()
    places = tuple((part, draw(st.sampled_from(_PARTS[part]))) for part in parts)
    grouped, nested = draw(st.booleans()), draw(st.booleans())
    photos: list[Photo] = []
    for part, place in places or (("", ""),):
        for label in classes:
            n = draw(st.integers(3, 4) if part in ("val", "test") else st.integers(15, 20))
            for i in range(n):
                number = len(photos)
                # Up to three neighbours of a class and part are one group.
                group = number - i % draw(st.integers(1, 3)) if photos and i else number
                below = f"deeper/{i % 2}" if nested else ""
                name = f"g{group}_{number}.{('png', 'webp.png', 'bmp')[i % 3]}"
                path = "/".join(filter(None, [place, label, below, name]))
                photos.append(Photo(path, label, part, group, number, damaged=False))
    photos = _with_copies(photos, draw(st.lists(_pairs(len(photos)), max_size=2)), grouped)
    bad = draw(st.lists(st.integers(0, len(photos) - 1), max_size=2, unique=True))
    photos = [
        Photo(**{**vars(p), "damaged": True}) if i in bad and p.part in ("", "train") else p
        for i, p in enumerate(photos)
    ]
    aux = draw(st.sampled_from(["", *_COLUMN])) if form.startswith(".") else ""
    return Layout(tuple(photos), form, grouped, draw(st.booleans()), aux, places)


def _pairs(n: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))


def _with_copies(photos: list[Photo], pairs: list[tuple[int, int]], grouped: bool) -> list[Photo]:
    """Make the second of each pair a copy of the first; groups may not get into two given parts."""
    for a, b in pairs:
        one, other = photos[a], photos[b]
        if not (grouped and one.part != other.part):
            photos[b] = Photo(**{**vars(other), "pixels": one.pixels})
    return photos
