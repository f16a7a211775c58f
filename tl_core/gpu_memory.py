"""The memory of GPUs: how much is free, used or allowed, and errors of one that is too small."""

import torch

from tl_core.device import is_in_use, require_gpu

_TOO_SMALL = (
    "CUDA error: out of memory",  # Of `torch.AcceleratorError`: memory that torch does not manage.
    "HIP error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "HIPBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "when calling `cusolverDnCreate",  # It says INTERNAL_ERROR then.
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    # Of cuDNN when no algorithm of a convolution gets its memory.
    "unable to find an engine to execute this computation",
)


def memory(device: torch.device) -> tuple[int, int]:
    """Return the free and the total bytes of a GPU.

    Free is also what this process holds and does not use. Raises `ValueError` for a CPU.
    """
    here = require_gpu(device)
    free, total = here.mem_get_info(device)
    return free + here.memory_reserved(device) - here.memory_allocated(device), total


def peak_memory(device: torch.device) -> int:
    """Return the most bytes of a GPU that torch has held at once in this process.

    Raises `ValueError` for a CPU.
    """
    return require_gpu(device).max_memory_reserved(device)


def limit_memory(device: torch.device, share: float) -> None:
    """Let this process take a share of a GPU's memory from now on.

    Raises `ValueError` for a CPU.
    """
    # It takes no device without a number.
    require_gpu(device).set_per_process_memory_fraction(share, device.index or 0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a GPU's memory is too small, in torch's words or a library's."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _TOO_SMALL)


def release_memory(device: torch.device) -> None:
    """Give a GPU's unused memory back; do nothing in a process that has not used the GPU."""
    if is_in_use(device):
        require_gpu(device).empty_cache()
