"""What a study has to work with: this machine, or the nodes of a cluster."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tl_core.config import Precision
from tl_core.models.precision import best_precision
from tl_core.text import pluralize


@dataclass(frozen=True)
class Resources:
    """Cores and GPUs, and what networks compute in on them."""

    cpus: int
    """Cores that may be used, of all nodes."""
    gpus: int
    """GPUs that are there."""
    cpus_per_gpu: float
    """Cores a GPU, on the node that has fewest."""
    gpus_are_real: bool
    """Whether networks can run on them, and not on the CPU beside a number in Ray's books."""
    precisions: Mapping[str, Precision]
    """The best that `cpu` and `cuda` multiply in, on every node."""
    nodes: tuple[dict[str, Any], ...] = ()
    """Of a cluster: each node, for the record; () is this machine alone."""

    @property
    def joined(self) -> bool:
        """Whether it is a cluster, to which nodes may come while a study runs."""
        return bool(self.nodes)

    def only_cores(self, gpus: int) -> bool:
        """Whether all that a study has, with so many GPUs, are this machine's cores."""
        return not (gpus or self.joined)

    def device(self, gpus: int) -> torch.device:
        """What networks run on if so many GPUs are used."""
        return torch.device("cuda" if gpus and self.gpus_are_real else "cpu")

    def cpus_for(self, gpus: int) -> int:
        """Cores that trials can count on, wherever on a cluster their GPUs are."""
        return max(1, int(gpus * self.cpus_per_gpu)) if gpus and self.joined else self.cpus

    def told(self, gpus: int) -> str:
        """What is used, in words."""
        what = pluralize(gpus, "GPU") if gpus else pluralize(self.cpus, "CPU core")
        return (
            f"{what} of a cluster of {pluralize(len(self.nodes), 'node')}" if self.nodes else what
        )


def this_machine() -> Resources:
    """What is here."""
    gpus, cpus = torch.cuda.device_count(), usable_cpus()
    there = torch.cuda.is_available()
    return Resources(cpus, gpus, cpus / max(1, gpus), there, best_precisions())


def best_precisions() -> dict[str, Precision]:
    """By device; without a GPU the CPU's alone."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    return {device: best_precision(torch.device(device)) for device in devices}


def usable_cpus() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Not on macOS.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hardware() -> dict[str, Any]:
    """CPU cores that may be used, and the GPUs by name."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"machine": platform.machine(), "cpus": usable_cpus(), "gpus": gpus}
