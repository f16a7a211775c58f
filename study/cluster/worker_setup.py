"""Sets up a worker process: its libraries, its threads and its device."""

import os

import ray
import torch

from study.cluster.join import Versions, check_versions, gpus_are_real
from tl_core.runtime import keep_freed_memory


def settle_worker(wanted: Versions) -> torch.device:
    """Set this process up and return its device; twice does no harm.

    Raises `NodeError` if its node, which may have joined late, has other libraries.
    """
    check_versions(wanted)
    keep_freed_memory()
    # One thread a core's worth: workers that share threads wait for each other.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return torch.device("cuda" if ray.get_gpu_ids() and gpus_are_real() else "cpu")
