"""What runs in Ray's workers; they live for the whole study and keep what trials share."""

import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune

from study.space import Space
from tl_core.config import Precision
from tl_core.datasets import ImageSet
from tl_core.features import Forward, extract
from tl_core.fit import EpochMetrics
from tl_core.memory import keep_freed_memory
from tl_core.train import pretrained, run_trial


@dataclass(frozen=True)
class Job:
    """What every trial of the study shares; small, since the data are attached by path."""

    space: Space
    images: Path
    cache: Path


def run_in_worker(drawn: dict[str, Any], job: Job) -> None:
    """Run one trial and report each epoch to Ray Tune."""
    device = _settle()

    def report(metrics: EpochMetrics) -> None:
        tune.report(asdict(metrics))

    try:
        run_trial(job.space.config(drawn), _attach(job.images), job.cache, device, report)
    finally:
        torch.cuda.empty_cache()  # The worker stays; trials beside it need the memory.


def spread(images: Path, backbone: tuple[str, str, int, Precision], gpus: int) -> Forward:
    """Run the frozen network on every CPU core, or on every GPU.

    Args:
        images: the data set's cache entry.
        backbone: what `tl_core.train.pretrained` takes.
        gpus: how many there are.
    """
    task = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0)(_extract_in_worker)

    def forward(chunks: list[np.ndarray]) -> Any:
        running = [task.remote(images, backbone, views) for views in chunks]
        while running:
            yield ray.get(running.pop(0))

    return forward


def _extract_in_worker(
    images: Path, backbone: tuple[str, str, int, Precision], views: np.ndarray
) -> np.ndarray:
    return extract(_attach(images), pretrained(*backbone), _settle(), views)


def _settle() -> torch.device:
    """Set this process up and return its device; twice does no harm."""
    keep_freed_memory()
    # One thread a core's worth: workers that share threads wait for each other.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.backends.cudnn.benchmark = True  # Steps have few shapes; find the best way for each.
    return torch.device("cuda" if ray.get_gpu_ids() else "cpu")


@lru_cache(maxsize=1)
def _attach(path: Path) -> ImageSet:
    return ImageSet.open(path)
