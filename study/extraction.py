"""The frozen network over all images, in Ray workers: on every core, or on every GPU."""

import os
from collections.abc import Iterator

import numpy as np
import ray
import torch
from ray.util import ActorPool

from study.cluster import Versions, check_versions, gpus_are_real
from study.job import Job
from tl_core.config import Precision
from tl_core.features import Forward, extract
from tl_core.memory import keep_freed_memory
from tl_core.train import pretrained


def spread(job: Job, backbone: tuple[str, str, int, Precision], gpus: int, cpus: int) -> Forward:
    """Have `load_features` run the frozen network in a worker a GPU, else a core.

    Args:
        job: names the data set.
        backbone: what `tl_core.train.pretrained` takes.
        gpus: how many there are.
        cpus: how many cores.
    """
    # Actors: Ray would end a process with a GPU after one task, and the next had to start anew.
    worker = ray.remote(num_cpus=1, num_gpus=1 if gpus else 0)(_Extractor)

    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        n_workers = min(gpus or cpus, len(chunks))
        pool = ActorPool([worker.remote(job, backbone) for _ in range(n_workers)])
        yield from pool.map(lambda one, views: one.rows.remote(views), chunks)

    return forward


class _Extractor:
    """Holds the network and the data set for chunk after chunk."""

    def __init__(self, job: Job, backbone: tuple[str, str, int, Precision]) -> None:
        self._device = settle_worker(job.versions)
        name, weights, *rest = backbone
        self._images = job.attach()
        self._backbone = pretrained(name, job.weights_here(weights), *rest)

    def rows(self, views: np.ndarray) -> np.ndarray:
        """Features of some views, [B, D]."""
        return extract(self._images, self._backbone, self._device, views)


def settle_worker(wanted: Versions) -> torch.device:
    """Set this process up and return its device; twice does no harm.

    Raises `VersionError` if its node, which may have joined late, has other libraries.
    """
    check_versions(wanted)
    keep_freed_memory()
    # One thread a core's worth: workers that share threads wait for each other.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return torch.device("cuda" if ray.get_gpu_ids() and gpus_are_real() else "cpu")
