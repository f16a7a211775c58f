"""The device that networks run on: what depends on its kind is here and in `gpu_memory.py` alone.

`cuda` is a GPU of NVIDIA or, in torch's builds for ROCm, of AMD. Other kinds are not used: training
and the linear probe compute parts in float64, which Apple's GPUs and many of Intel's do not have.
"""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tl_core.config import Precision

CPU = torch.device("cpu")
_GPUS = ("cuda",)
"""Kinds that networks run on. They copy to and from locked memory while both sides go on."""
_TENSOR_CORES = (7, 0)
"""Compute capability (major, minor) of NVIDIA's first GPU whose float16 products are fast: V100."""


class Accelerator(Protocol):
    """What is asked of `torch.cuda`, or of a test's own GPU."""

    def device_count(self) -> int:
        """How many there are."""

    def get_device_name(self, device: Any) -> str:
        """Name of one."""

    def is_initialized(self) -> bool:
        """Whether this process has used one."""

    def mem_get_info(self, device: Any) -> tuple[int, int]:
        """Free and total bytes of one, as the driver counts them."""

    def memory_reserved(self, device: Any) -> int:
        """Bytes of one that this process holds, in use or not."""

    def memory_allocated(self, device: Any) -> int:
        """Bytes of one that this process uses."""

    def max_memory_reserved(self, device: Any) -> int:
        """Most bytes of one that this process has held at once."""

    def set_per_process_memory_fraction(self, fraction: float, device: Any) -> None:
        """Let this process take so much of one."""

    def set_sync_debug_mode(self, debug_mode: str) -> None:
        """Say what happens where the host waits for one: `default` nothing, `error` an error."""

    def empty_cache(self) -> None:
        """Give back what this process holds and does not use."""

    def get_rng_state(self, device: Any) -> Tensor:
        """State of the random generator of one."""

    def set_rng_state(self, new_state: Tensor, device: Any) -> None:
        """Restore such a state."""


def accelerator_of(device: torch.device) -> Accelerator | None:
    """Return what torch offers for the kind of a device; None if it is no GPU.

    All functions ask it, so that a test can put a GPU of its own in its place.
    """
    if device.type not in _GPUS:
        return None
    module: Accelerator = torch.get_device_module(device)
    return module


def require_gpu(device: torch.device) -> Accelerator:
    """As `accelerator_of`, but raises `ValueError` for a CPU."""
    here = accelerator_of(device)
    if here is None:
        raise ValueError(f"device {device} has no memory of its own; a GPU is expected")
    return here


def is_gpu(device: torch.device) -> bool:
    """Whether a device has memory of its own and works while the processor goes on."""
    return accelerator_of(device) is not None


def find_device() -> torch.device:
    """Return the kind of GPU that this machine has and that networks run on, else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found and found.type in _GPUS else CPU


def gpus_here() -> list[torch.device]:
    """Return the GPUs of this machine that this process may use."""
    kind = find_device()
    here = accelerator_of(kind)
    return [torch.device(kind.type, i) for i in range(here.device_count())] if here else []


def nvidia_gpus() -> int:
    """Count the visible GPUs of NVIDIA; this process may still change which are visible."""
    return torch.cuda.device_count() if torch.version.cuda else 0


def require_nvidia() -> None:
    """Raise `RuntimeError` with torch's reason, such as an old driver, if it can use no GPU."""
    torch.cuda.init()  # type: ignore[no-untyped-call]


def gpu_names() -> list[str]:
    """Return the names of those GPUs."""
    names = ((accelerator_of(gpu), gpu) for gpu in gpus_here())
    return [here.get_device_name(gpu) for here, gpu in names if here]


def forbid_waits(device: torch.device, on: bool) -> None:
    """Have everything for which the host waits for a GPU raise `RuntimeError`, or no longer.

    It is for tests and benchmarks, and holds for the whole process. Raises `ValueError` for a CPU.
    """
    require_gpu(device).set_sync_debug_mode("error" if on else "default")


def is_in_use(device: torch.device) -> bool:
    """Whether this process has used a GPU of this kind."""
    here = accelerator_of(device)
    return here is not None and here.is_initialized()


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's random generators of the CPU and of the device."""
    here = accelerator_of(device)
    states = {"cpu": torch.get_rng_state()}
    return states | ({device.type: here.get_rng_state(device)} if here else {})


def restore_random_states(device: torch.device, states: dict[str, Tensor]) -> None:
    """Restore what `random_states` returned."""
    torch.set_rng_state(states["cpu"])
    if here := accelerator_of(device):
        here.set_rng_state(states[device.type], device)


def upload(values: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to the device; neither side waits for the other. A CPU shares its memory."""
    host = torch.from_numpy(values)
    if device.type in _GPUS:
        return host.pin_memory().to(device, non_blocking=True)
    return host.to(device)


def pinned_empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an empty tensor on the host, in locked memory if it is for a GPU."""
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=device.type in _GPUS)


class UploadStream:
    """Copies to a GPU while it computes; a CPU uses the tensors as they are."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.Stream(device) if device.type in _GPUS else None

    def upload(self, host: Tensor) -> Tensor:
        """Copy a tensor of locked memory; what the GPU is asked to do next waits for it."""
        if self._stream is None:
            return host
        with self._stream:
            there = host.to(self._device, non_blocking=True)
        computing = torch.accelerator.current_stream(self._device)
        computing.wait_stream(self._stream)
        there.record_stream(computing)  # Its memory is not given away before that is done with it.
        return there


def host_like(tensor: Tensor) -> Tensor:
    """Return an empty tensor on the host, of the same shape and layout, for copies of `tensor`."""
    pinned = tensor.device.type in _GPUS
    return torch.empty_like(tensor, device=CPU, pin_memory=pinned)


def copy_to_host(tensor: Tensor, into: Tensor) -> Tensor:
    """Copy a tensor into what `host_like` returned for it, and return that.

    Neither side waits for the other, where a `CopyEvent` can tell when the copy has ended. From all
    other devices it has ended on return.
    """
    return into.copy_(tensor, non_blocking=tensor.device.type in _GPUS)


class CopyEvent:
    """Ends when the device has done all that it was asked to before; a CPU always has."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.Event(device) if device.type in _GPUS else None
        if self._event:
            self._event.record()

    def wait(self) -> None:
        """Return when it has ended; another thread may wait."""
        if self._event:
            self._event.synchronize()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was asked to."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def best_precision(device: torch.device) -> Precision:
    """Return the fastest number format that a device computes in without emulating it.

    `bf16` for a CPU with AVX512-BF16 or AMX and for a GPU with native bfloat16; `fp16` for an older
    GPU of NVIDIA with tensor cores (T4; the GTX 16xx, as old as that, have none).
    """
    if device.type == "cpu":
        # Inductor, torch's compiler, checks the same two.
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if native else "fp32"
    # Not `is_bf16_supported`, which asks the current GPU: those of one machine may differ.
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip or capability >= (8, 0):
        return "bf16"
    slow = capability < _TENSOR_CORES or "GTX 16" in torch.cuda.get_device_name(device)
    return "fp32" if slow else "fp16"


def set_deterministic(on: bool) -> None:
    """Have GPUs compute the same bits every time from now on, in this process.

    An operation that has no such way then raises `RuntimeError`, which names it. cuBLAS reads its
    variable when it is first used.
    """
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(on)


def choose_algorithms(device: torch.device, precision: Precision) -> None:
    """Set cuDNN up for steps of few shapes: it searches the fastest algorithm for each.

    And float32 means float32, not TF32: the default of convolutions and, in NVIDIA's containers
    (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1), of products of matrices.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
