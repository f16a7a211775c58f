"""The frozen network over all images, in Ray workers: on every core, or on every GPU."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import ray
import torch
from ray.util import ActorPool

from study.machine import usable_cpus
from tl_core.config import Precision
from tl_core.datasets import ImageSet
from tl_core.features import Forward, extract
from tl_core.memory import keep_freed_memory
from tl_core.train import pretrained


def spread(images: Path, backbone: tuple[str, str, int, Precision], gpus: int) -> Forward:
    """Have `load_features` run the frozen network in a worker a GPU, else a core.

    Args:
        images: the data set's cache entry.
        backbone: what `tl_core.train.pretrained` takes.
        gpus: how many there are.
    """
    # Actors: Ray would end a process with a GPU after one task, and the next had to start anew.
    worker = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0)(_Extractor)

    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        n_workers = min(gpus or usable_cpus(), len(chunks))
        pool = ActorPool([worker.remote(images, backbone) for _ in range(n_workers)])
        yield from pool.map(lambda one, views: one.rows.remote(views), chunks)

    return forward


class _Extractor:
    """Holds the network and the data set for chunk after chunk."""

    def __init__(self, images: Path, backbone: tuple[str, str, int, Precision]) -> None:
        self._device = settle_worker()
        self._images, self._backbone = attach(images), pretrained(*backbone)

    def rows(self, views: np.ndarray) -> np.ndarray:
        """Features of some views, [B, D]."""
        return extract(self._images, self._backbone, self._device, views)


def settle_worker() -> torch.device:
    """Set this process up and return its device; twice does no harm."""
    keep_freed_memory()
    # One thread a core's worth: workers that share threads wait for each other.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return torch.device("cuda" if ray.get_gpu_ids() else "cpu")


@lru_cache(maxsize=1)
def attach(path: Path) -> ImageSet:
    """The data set, mapped once a process."""
    return ImageSet.open(path)
