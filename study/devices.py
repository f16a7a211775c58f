"""What a study's networks can run on: GPUs, the device, a compiler, and the number format."""

import torch

from study.settings import Settings
from tl_core.errors import InputError
from tl_core.precision import best_precision


def gpus_of(settings: Settings) -> int:
    """GPUs to be used."""
    return settings.gpus if settings.gpus is not None else torch.cuda.device_count()


def device_of(settings: Settings) -> torch.device:
    """What networks run on."""
    on_gpu = gpus_of(settings) and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


def gpu_faults(settings: Settings, gpus: int) -> list[str]:
    """Why so many GPUs, shared so, can't be had."""
    there = torch.cuda.device_count()
    if gpus > there:
        return [
            f"--gpus {gpus}: this machine has {there}; leave --gpus out to use what there is, "
            "or --gpus 0 for the CPU"
        ]
    if settings.trials_per_gpu > 1 and not gpus:
        return [f"--trials-per-gpu {settings.trials_per_gpu} is not read without a GPU"]
    return []


def check_compiler(device: torch.device) -> None:
    """Compile something small: whether that works takes more than finding a compiler.

    Raises `InputError` if it does not.
    """
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(64, device=device))
    except Exception as error:  # Each stage of the compiler has its own.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        way_out = "install g++, or leave --compile out"
        raise InputError([f"--compile: torch.compile fails here ({reason}); {way_out}"]) from error


def precision_notes(settings: Settings, device: torch.device) -> list[str]:
    """What is to be said of the number format that was asked for."""
    if settings.precision == "bf16" and best_precision(device) == "fp32":
        return ["this hardware emulates bf16, which takes many times as long as fp32"]
    return []
