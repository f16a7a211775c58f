"""What every row gets: images, backbone, sizes; and the upper limits of the hardware."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.common import write_entry
from benchmarks.speed.harness import Log
from tl_core.config import Mode, Precision, TrialConfig
from tl_core.data import demo
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.device import best_precision, find_device, is_gpu, synchronize
from tl_core.files import user_path
from tl_core.models.article import earlier_recipe
from tl_core.models.backbones import Backbone
from tl_core.progress import track
from tl_core.runtime import one_thread
from tl_core.training.setup import pretrained

RATIO = 0.4
"""Train ratio of all trials: one value, so that all trials cost the same."""
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
    log: Log = lambda _: None

    def pick(self, full: Value, quick: Value) -> Value:
        """One of two sizes."""
        return quick if self.quick else full

    @property
    def device(self) -> torch.device:
        """Where networks run."""
        return find_device()

    @property
    def gpus(self) -> int:
        """GPUs that a study may use."""
        return 1 if is_gpu(self.device) else 0

    @property
    def precision(self) -> Precision:
        """What networks compute in on that device."""
        return best_precision(self.device)

    @property
    def cache(self) -> Path:
        """Cache of decoded images and features, for the rows that reuse them."""
        return self.scratch / "cache"

    @cached_property
    def folder(self) -> Path:
        """The images as files, since the naive study decodes them in every epoch."""
        if self.data != "demo":
            return user_path(self.data).resolve()
        folder, n = self.scratch / "photos", self.pick(demo.N_IMAGES, 80)
        for name in demo.CLASSES:
            (folder / name).mkdir(parents=True)
        for i in track(range(n), n, "Drawing photos"):
            name = demo.CLASSES[i % len(demo.CLASSES)]
            demo.draw(i, _PHOTO_SIDE).save(folder / name / f"{i:05d}.jpg", quality=90)
        return folder

    @cached_property
    def images(self) -> ImageSet:
        """The decoded images."""
        return load_images(folder_source(self.folder), self.image_size, self.cache)

    @property
    def backbone(self) -> Backbone:
        """The pretrained network; nothing may write to it."""
        return pretrained(self.backbone_name, "default", self.image_size, self.precision)

    def config(self, mode: Mode, **changes: Any) -> TrialConfig:
        """One trial, of the article's recipe, which the plain loops follow as well."""
        plain = {"lr": 1e-3 if mode == "freeze" else 1e-4, "aux_weight": 0.3, "train_ratio": RATIO}
        shared = {"backbone": self.backbone_name, "image_size": self.image_size}
        fixed = {"mode": mode, "precision": self.precision, **earlier_recipe(mode)}
        return TrialConfig(**plain | shared | fixed | changes)

    def fresh(self, what: str) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(prefix=f"{what}-", dir=self.scratch))

    def without_features(self, images: Path | None = None) -> Path:
        """A new cache with decoded images (in `images`, by default the benchmark's) alone."""
        cache = self.fresh("cache-without-features")
        (cache / "images").symlink_to(images or self.cache / "images")
        return cache


def tile(images: ImageSet, times: int, into: Path) -> ImageSet:
    """The data set repeated `times` times, as a cache entry of its own in the folder `into`."""
    n, shape = len(images.labels), images.pixels.shape[1:]
    into.mkdir(parents=True)
    pixels = np.lib.format.open_memmap(into / "pixels.npy", "w+", np.uint8, (times * n, *shape))
    for turn in range(times):
        pixels[turn * n : (turn + 1) * n] = images.pixels
    # Not flushed: who opens it has the same pages, and a disk may take a minute for gigabytes.
    ids = [f"{name} {turn}" for turn in range(times) for name in images.ids]
    labels, brightness = (np.tile(a, times) for a in (images.labels, images.brightness))
    about = {"name": images.name, "classes": images.classes}
    write_entry(into, labels, brightness, ids, about)
    return ImageSet.open(into)


def matrix_product(device: torch.device, precision: Precision) -> float:
    """FLOP/s of a square matrix product with torch's number of threads."""
    n = 8192 if is_gpu(device) else 1024
    if precision == "bf16" and best_precision(device) != "bf16":
        n = 256  # Emulated: a larger product takes seconds.
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 * runs_per_s(lambda: torch.mm(a, b, out=out), device, 0.3)


def memory_copy(device: torch.device, least_s: float = 0.3) -> float:
    """Bytes/s that a copy reads and writes in total."""
    n_bytes = 2**31 if is_gpu(device) else 2**27
    source = torch.ones(n_bytes, dtype=torch.uint8, device=device)
    into = torch.empty_like(source)
    return 2 * n_bytes * runs_per_s(lambda: into.copy_(source), device, least_s)


def ceilings(device: torch.device) -> dict[str, float]:
    """All ceilings of a device, and of one thread of the CPU."""
    n, cpu = torch.get_num_threads(), torch.device("cpu")
    found = _of(cpu, f"CPU, {n} threads") if n > 1 else {}
    with one_thread():
        found |= _of(cpu, "CPU, 1 thread")
    return found | (_of(device, "GPU") if is_gpu(device) else {})


def _of(device: torch.device, where: str) -> dict[str, float]:
    return {
        f"{where}: bf16 product, GFLOP/s": matrix_product(device, "bf16") / 1e9,
        f"{where}: fp32 product, GFLOP/s": matrix_product(device, "fp32") / 1e9,
        f"{where}: memory copy, GB/s": memory_copy(device) / 1e9,
    }


def runs_per_s(run: Callable[[], object], device: torch.device, least_s: float) -> float:
    """Runs a second; waits for the device after each run."""

    def once() -> None:
        run()
        synchronize(device)

    once()
    start, n = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < least_s or n < 2:
        once()
        n += 1
    return n / spent
