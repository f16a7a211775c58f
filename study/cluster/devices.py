"""What a study's networks can run on: GPUs, a compiler, and the number format."""

import torch

from study.cluster.ray_environment import LOGICAL
from study.cluster.resources import Resources
from study.config.settings import Settings
from tl_core.config import Precision
from tl_core.errors import Fault, InputError
from tl_core.text import pluralize


def gpus_of(settings: Settings, resources: Resources) -> int:
    """GPUs to be used."""
    return settings.gpus if settings.gpus is not None else resources.gpus


def gpu_faults(settings: Settings, resources: Resources) -> list[Fault]:
    """Why so many GPUs, shared so, can't be had. A cluster may grow to more than it has."""
    gpus, there = gpus_of(settings, resources), resources.gpus
    if gpus > there and not resources.joined:
        way_out = "leave --gpus out to use what there is, or --gpus 0 for the CPU"
        return [Fault("--gpus", f"{gpus}: this machine has {there}; {way_out}")]
    if resources.joined and settings.gpus is None and not there:
        why = "the cluster has no GPU now"
        way_out = "--gpus N asks one that grows for so many, --gpus 0 uses its CPU cores"
        return [Fault("--address", f"{settings.address}: {why}; {way_out}")]
    if settings.trials_per_gpu > 1 and not gpus:
        return [Fault("--trials-per-gpu", f"{settings.trials_per_gpu} is not read without a GPU")]
    return []


def gpu_notes(gpus: int, resources: Resources) -> list[str]:
    """What is to be said of the GPUs that a cluster has."""
    notes = []
    if resources.joined and gpus > resources.gpus:
        has = pluralize(resources.gpus, "GPU")
        notes.append(f"the cluster has {has} now; trials wait for the others until it grows")
    if resources.joined and gpus and not resources.gpus:
        notes.append("--precision auto means fp32 while no GPU is up that could be asked")
    if resources.joined and gpus and not resources.gpus_are_real:
        notes.append(f"{LOGICAL}: GPUs are numbers in Ray's books, networks run on CPU cores")
    return notes


def check_compiler(device: torch.device) -> None:
    """Compile something small: whether that works takes more than finding a compiler.

    Raises `InputError` if it does not.
    """
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(64, device=device))
    except Exception as error:  # Each stage of the compiler has its own.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        why = f"is not possible here: torch.compile fails ({reason})"
        raise InputError([Fault("--compile", f"{why}; install g++, or leave it out")]) from error


def precision_notes(settings: Settings, best: Precision) -> list[str]:
    """What is to be said of the number format that was asked for; `best` is the hardware's."""
    if settings.precision == "bf16" and best == "fp32":
        return ["this hardware emulates bf16, which takes many times as long as fp32"]
    return []
