"""The frozen network over all images, as Ray tasks: on every core, or on every GPU."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import ray
import torch

from tl_core.config import Precision
from tl_core.datasets import ImageSet
from tl_core.features import Forward, extract
from tl_core.memory import keep_freed_memory
from tl_core.train import pretrained


def spread(images: Path, backbone: tuple[str, str, int, Precision], gpus: int) -> Forward:
    """Have `load_features` run the frozen network in workers.

    Args:
        images: the data set's cache entry.
        backbone: what `tl_core.train.pretrained` takes.
        gpus: how many there are.
    """
    task = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0)(_extract_in_worker)

    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        running = [task.remote(images, backbone, views) for views in chunks]
        while running:
            yield ray.get(running.pop(0))

    return forward


def _extract_in_worker(
    images: Path, backbone: tuple[str, str, int, Precision], views: np.ndarray
) -> np.ndarray:
    return extract(attach(images), pretrained(*backbone), settle_worker(), views)


def settle_worker() -> torch.device:
    """Set this process up and return its device; twice does no harm."""
    keep_freed_memory()
    # One thread a core's worth: workers that share threads wait for each other.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.backends.cudnn.benchmark = True  # Steps have few shapes; find the best way for each.
    return torch.device("cuda" if ray.get_gpu_ids() else "cpu")


@lru_cache(maxsize=1)
def attach(path: Path) -> ImageSet:
    """The data set, mapped once a process."""
    return ImageSet.open(path)
