"""What a study has to work with: cores and GPUs of this machine or of a cluster, and a compiler.

Run as a program, it tries the compiler on the GPU; if that fails, its last line says why.
"""

import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from study.cluster.ray_environment import LOGICAL
from study.config.settings import Settings
from tl_core.config import Precision
from tl_core.device import CPU, best_precision, find_device, gpu_names, gpus_here, is_gpu
from tl_core.errors import Fault, InputError, first_line
from tl_core.models.precision import emulates
from tl_core.runtime import PRIVATE_OPTIONS, module_process, usable_cpus, use_private_cache
from tl_core.text import pluralize


@dataclass(frozen=True)
class Resources:
    """Cores and GPUs, and the number formats that they compute in."""

    cpus: int
    """Usable cores of all nodes."""
    gpus: int
    """GPUs of all nodes."""
    cpus_per_gpu: float
    """Cores a GPU, on the node that has fewest."""
    gpus_are_real: bool
    """Whether networks run on them; logical GPUs are numbers in Ray's books alone."""
    precisions: Mapping[str, Precision]
    """The best number format of `cpu`, and of each kind of GPU, that every node has."""
    nodes: tuple[dict[str, Any], ...] = ()
    """Of a cluster: each node, for the record; () means this machine alone."""
    left_out: tuple[str, ...] = ()
    """GPUs of this machine that failed their check, each with the reason."""

    @property
    def joined(self) -> bool:
        """Whether it is a cluster, which nodes may join while a study runs."""
        return bool(self.nodes)

    def only_cores(self, gpus: int) -> bool:
        """Whether a study with so many GPUs runs on this machine's cores alone."""
        return not (gpus or self.joined)

    def device(self, gpus: int) -> torch.device:
        """What networks run on if so many GPUs are used."""
        return torch.device("cuda" if gpus and self.gpus_are_real else "cpu")

    def cpus_for(self, gpus: int) -> int:
        """Cores that trials can count on, on whichever node their GPUs are."""
        return max(1, int(gpus * self.cpus_per_gpu)) if gpus and self.joined else self.cpus

    def describe(self, gpus: int) -> str:
        """Describe what a study with so many GPUs uses."""
        what = pluralize(gpus, "GPU") if gpus else pluralize(self.cpus, "CPU core")
        return (
            f"{what} of a cluster of {pluralize(len(self.nodes), 'node')}" if self.nodes else what
        )


def this_machine(left_out: tuple[str, ...] = ()) -> Resources:
    """The resources of this machine; `left_out` says which GPUs failed their check, and why."""
    gpus, cpus = len(gpus_here()), usable_cpus()
    per_gpu, best = cpus / max(1, gpus), best_precisions()
    return Resources(cpus, gpus, per_gpu, gpus > 0, best, left_out=left_out)


def best_precisions() -> dict[str, Precision]:
    """The best number format of the CPU and, if there are GPUs, of all of these."""
    found: dict[str, Precision] = {"cpu": best_precision(CPU)}
    if gpus := gpus_here():
        found[gpus[0].type] = common_precision(map(best_precision, gpus))
    return found


def common_precision(best: Iterable[Precision]) -> Precision:
    """The best number format that several devices compute in without emulating it.

    All trials of a study have one, so that their numbers are comparable. A GPU with bfloat16 has
    float16 as well.
    """
    found = {*best}
    return "fp32" if "fp32" in found or not found else "fp16" if "fp16" in found else "bf16"


def hardware() -> dict[str, Any]:
    """Usable CPU cores, and the GPUs by name."""
    return {"machine": platform.machine(), "cpus": usable_cpus(), "gpus": gpu_names()}


def gpus_of(settings: Settings, resources: Resources) -> int:
    """GPUs that a study uses."""
    return settings.gpus if settings.gpus is not None else resources.gpus


SHARE_UNREAD = "is not read without a GPU"
DETERMINISTIC_UNREAD = "is not read without a GPU; a CPU always is"


def gpu_faults(settings: Settings, resources: Resources, new: bool = True) -> list[Fault]:
    """Why the GPUs that were asked for are unavailable; a cluster may grow.

    A study that is not `new` has `gpus`, `deterministic` and `trials_per_gpu` from its start,
    wherever it goes on.
    """
    gpus, there = gpus_of(settings, resources), resources.gpus
    if gpus > there and not resources.joined:
        few = f"--gpus {there} goes on with what there is, " if there else ""
        way_out = f"{few}--gpus 0 goes on with the CPU"
        if new:
            way_out = "leave --gpus out to use what there is, or --gpus 0 for the CPU"
        has = "; ".join([f"{there}", *(f"left out is {why}" for why in resources.left_out)])
        return [Fault("--gpus", f"{gpus}: this machine has {has}; {way_out}")]
    if resources.joined and settings.gpus is None and not there:
        why = "the cluster has no GPU now"
        way_out = "--gpus N asks one that grows for so many, --gpus 0 uses its CPU cores"
        return [Fault("--address", f"{settings.address}: {why}; {way_out}")]
    if settings.deterministic and not gpus and new:
        return [Fault("--deterministic", DETERMINISTIC_UNREAD)]
    shared = settings.trials_per_gpu
    if shared == "auto" and resources.joined:
        why = "auto measures the GPUs of this machine, and a cluster's may differ; give a number"
        return [Fault("--trials-per-gpu", why)]
    if shared != 1 and not gpus and new:
        return [Fault("--trials-per-gpu", f"{shared} {SHARE_UNREAD}")]
    return []


def gpu_notes(gpus: int, resources: Resources, auto: bool = False) -> list[str]:
    """Notes on GPUs: those of this machine that are left out, and a cluster's.

    `auto` says whether `--precision auto` was asked for.
    """
    notes = [f"left out is {why}" for why in resources.left_out]
    if resources.joined and gpus > resources.gpus:
        has = pluralize(resources.gpus, "GPU")
        notes.append(f"the cluster has {has} now; trials wait for the others until it grows")
    if resources.joined and gpus and not resources.gpus and auto:
        notes.append("--precision auto means fp32 while no GPU is up that could be asked")
    if resources.joined and gpus and not resources.gpus_are_real:
        notes.append(f"{LOGICAL}: GPUs are numbers in Ray's books, networks run on CPU cores")
    return notes


def check_compiler(device: torch.device, cache: Path) -> None:
    """Compile something small, as a compiler may be there and fail.

    For a GPU, in a process of its own: this one would keep a context there for as long as it runs.

    Raises `InputError` if it fails.
    """
    use_private_cache(cache)
    reason = _failure_apart() if is_gpu(device) else _failure(device)
    if reason:
        why = f"is not possible here: torch.compile fails ({reason})"
        raise InputError([Fault("--compile", f"{why}; install g++, or leave it out")])


def _failure(device: torch.device) -> str | None:
    """Why nothing can be compiled for a device, None if something can be."""
    try:
        compiled = torch.compile(lambda x: x * 2 + 1, options=PRIVATE_OPTIONS)
        compiled(torch.ones(64, device=device))
    except Exception as error:  # Each stage of the compiler has its own.
        return first_line(error)
    return None


def _failure_apart() -> str | None:
    """As `_failure`, of the GPU, in another process, which runs this module."""
    command, environment = module_process(__name__)
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if not done.returncode:
        return None
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"its process ended with code {done.returncode}"


def precision_notes(settings: Settings, best: Precision, on_gpu: bool) -> list[str]:
    """Notes on the number format that was asked for; `best` is the hardware's."""
    asked = settings.precision
    assert asked != "auto"  # The checks have decided it.
    text = f"this hardware emulates {asked}, which takes many times as long as {best}"
    return [text] if emulates(asked, best, on_gpu) else []


if __name__ == "__main__":
    sys.exit(_failure(find_device()))
