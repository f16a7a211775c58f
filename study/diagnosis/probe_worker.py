"""A worker that measures how fast trials are in its place, on images of noise."""

import json
import math
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from study.cluster.join import Versions, settle_worker
from tl_core.config import EpochMetrics, Resize, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.device import is_gpu
from tl_core.inputs.batches import eval_batch
from tl_core.inputs.features import run_batches
from tl_core.models.folding import fold_backbone
from tl_core.training.setup import load_for
from tl_core.training.train import run_trial

TINY_LR = 1e-9
"""Noise teaches nothing at this learning rate, so that no loss diverges."""
_LONG_S = 4.0
"""Seconds that a network learns for after its first epoch, which is slower; at least one epoch."""
_FORWARD_S = 2.0
_STEPS, _GPU_STEPS, _MOST = 1, 16, 2048
"""Steps an epoch, and images: a GPU waits for the processor when an epoch ends."""


@dataclass(frozen=True)
class Probe:
    """What is to be measured."""

    net: TrialConfig
    """A trial of a whole network, from random weights."""
    partial: TrialConfig | None
    """A trial whose last stages learn, if the study has any."""
    temp_dir: str
    """Name of the folder for temporary files on each node; the driver has it removed."""
    versions: Versions = ()
    """On a cluster: what each node must have."""


class ProbeWorker:
    """An actor; it may be killed at any moment."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._device = settle_worker(probe.versions)
        self._folder = make_temp_dir(probe.temp_dir)
        self._images = noise(self._folder / "images", probe.net, is_gpu(self._device))

    def is_up(self) -> bool:
        """Return when the worker has come up."""
        return True

    def forward(self) -> float:
        """Images a second through the network while nothing learns, made ready as for features."""
        net = self._probe.net
        backbone = fold_backbone(load_for(net), net.image_size)
        size = eval_batch(self._device, net.image_size)
        views = np.resize(np.arange(len(self._images.labels)), size)

        def run() -> None:
            # Random weights may make numbers that are not finite: no matter for the time.
            run_batches(self._images, backbone, self._device, views).cpu()

        run()
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < _FORWARD_S:
            run()
            n += size
        return n / (time.perf_counter() - start)

    def train(self) -> float:
        """Images a second of a network that learns."""
        return self._watch(self._probe.net)

    def train_partial(self) -> float:
        """Images a second of the last stages of a network, on cached activations."""
        assert self._probe.partial
        return self._watch(self._probe.partial)

    def _watch(self, config: TrialConfig) -> float:
        watch = _Watch(_LONG_S)
        with suppress(_EnoughError):
            run_trial(config, self._images, self._folder, self._device, watch)
        return watch.images_per_s


class _EnoughError(Exception):
    """Ends a trial that was measured for long enough."""


class _Watch:
    """Takes the time of a trial's epochs."""

    def __init__(self, long_s: float) -> None:
        self._long_s = long_s
        self._at: list[float] = []
        self._rates: list[float] = []

    def __call__(self, metrics: EpochMetrics) -> None:
        """An epoch has ended."""
        self._at.append(time.perf_counter())
        self._rates.append(metrics.images_per_s)
        if len(self._at) > 1 and self._at[-1] - self._at[0] > self._long_s:
            raise _EnoughError

    @property
    def images_per_s(self) -> float:
        """Of all epochs but the first, if there are others; all have as many images."""
        return 1 / mean(1 / rate for rate in self._rates[1:] or self._rates)


def noise(entry: Path, config: TrialConfig, on_gpu: bool) -> ImageSet:
    """Make a data set of two classes that a few steps of a trial see all of."""
    steps = max(1, min(_GPU_STEPS if on_gpu else _STEPS, _MOST // config.batch_size))
    # Of ten images of a class eight are for training.
    n = 2 * max(10, math.ceil(steps * config.batch_size / 1.6))
    pixels = np.random.default_rng(0).integers(
        256, size=(n, 3, config.image_size, config.image_size), dtype=np.uint8
    )
    write_entry(entry, n, 2, config.resize)
    np.save(entry / "pixels.npy", pixels)
    return ImageSet.open(entry)


def write_entry(entry: Path, n: int, n_classes: int, resize: Resize) -> None:
    """Write a cache entry of made-up images, all but their pixels."""
    entry.mkdir(parents=True)
    np.save(entry / "labels.npy", np.arange(n) % n_classes)
    np.save(entry / "brightness.npy", np.random.default_rng(1).random(n, dtype=np.float32))
    names = {"classes": [*map(str, range(n_classes))], "ids": [*map(str, range(n))], "bad": []}
    about = json.dumps({"name": "noise", "resize": resize} | names)
    (entry / "about.json").write_text(about, encoding="utf-8")


def temp_name() -> str:
    """A unique name for one temporary folder on each node."""
    return f"tl-doctor-{secrets.token_hex(8)}"


def make_temp_dir(name: str) -> Path:
    """Make a folder of this process's own in that folder."""
    root = Path(tempfile.gettempdir(), name)
    root.mkdir(mode=0o700, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=root))


def remove_temp_dirs(name: str) -> None:
    """Remove that folder, with those of all workers, from this node if it is there."""
    root = Path(tempfile.gettempdir(), name)
    if root.exists():
        shutil.rmtree(root)
