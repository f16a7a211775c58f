"""What every row is given: the images, the backbone, how often and how large."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.speed.harness import Tell
from tl_core.config import Mode, Precision, TrialConfig
from tl_core.data import demo
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.files import user_path
from tl_core.models.backbones import Backbone
from tl_core.models.precision import best_precision
from tl_core.progress import track
from tl_core.training.train import pretrained

RATIO = 0.4
"""Share of the images that all trials train on: one value, so that all trials cost the same."""
_PHOTO_SIDE = 256
Value = TypeVar("Value")


@dataclass(frozen=True)
class Bench:
    """Shared by all rows of a run."""

    data: str
    """A folder with one sub-folder a class, or `demo`."""
    backbone_name: str
    image_size: int
    repeats: int
    quick: bool
    scratch: Path
    """A folder that is removed at the end."""
    tell: Tell = lambda _: None

    def pick(self, full: Value, quick: Value) -> Value:
        """One of two sizes."""
        return quick if self.quick else full

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def precision(self) -> Precision:
        """What networks compute in, on that device."""
        return best_precision(self.device)

    @property
    def cache(self) -> Path:
        """Of decoded images and features, for the rows that find them there."""
        return self.scratch / "cache"

    @cached_property
    def folder(self) -> Path:
        """The images as files, since the naive study decodes them again and again."""
        if self.data != "demo":
            return user_path(self.data)
        return _draw(self.scratch / "photos", self.pick(demo.N_IMAGES, 80))

    @cached_property
    def images(self) -> ImageSet:
        """The decoded images."""
        return load_images(folder_source(self.folder), self.image_size, self.cache)

    @property
    def backbone(self) -> Backbone:
        """With its pretrained weights; nothing may write to it."""
        return pretrained(self.backbone_name, "default", self.image_size, self.precision)

    def config(self, mode: Mode, **changes: Any) -> TrialConfig:
        """One trial."""
        plain = {"lr": 1e-3 if mode == "freeze" else 1e-4, "aux_weight": 0.3, "train_ratio": RATIO}
        shared = {"backbone": self.backbone_name, "image_size": self.image_size}
        fixed = {"mode": mode, "precision": self.precision}
        return TrialConfig(**plain | shared | fixed | changes)

    def fresh(self, what: str) -> Path:
        """A folder that nobody has used yet."""
        number = 0
        while (path := self.scratch / f"{what}-{number}").exists():
            number += 1
        path.mkdir()
        return path

    def without_features(self, images: Path | None = None) -> Path:
        """A new cache that has decoded images, so that a study makes its features itself.

        Args:
            images: the folder that holds them; None for those of the benchmark.
        """
        cache = self.fresh("cache-without-features")
        (cache / "images").symlink_to(images or self.cache / "images")
        return cache


def _draw(folder: Path, n_images: int) -> Path:
    for name in demo.CLASSES:
        (folder / name).mkdir(parents=True)
    for i in track(range(n_images), n_images, "Drawing photos"):
        # Their labels go by turns.
        name = demo.CLASSES[i % len(demo.CLASSES)]
        demo.draw(i, 0, _PHOTO_SIDE).save(folder / name / f"{i:05d}.jpg", quality=90)
    return folder


def tile(images: ImageSet, times: int, into: Path) -> ImageSet:
    """The data set `times` over, as a cache entry of its own in the folder `into`."""
    n, shape = len(images.labels), images.pixels.shape[1:]
    into.mkdir(parents=True)
    pixels = np.lib.format.open_memmap(into / "pixels.npy", "w+", np.uint8, (times * n, *shape))
    for turn in range(times):
        pixels[turn * n : (turn + 1) * n] = images.pixels
    pixels.flush()
    np.save(into / "labels.npy", np.tile(images.labels, times))
    np.save(into / "brightness.npy", np.tile(images.brightness, times))
    ids = [f"{name} {turn}" for turn in range(times) for name in images.ids]
    about = {"name": images.name, "classes": images.classes, "ids": ids, "bad": []}
    (into / "about.json").write_text(json.dumps(about))
    return ImageSet.open(into)
