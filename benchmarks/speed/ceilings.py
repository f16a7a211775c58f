"""What the hardware could do at most: matrix products and memory copies."""

import time
from collections.abc import Callable

import torch

from tl_core.config import Precision
from tl_core.models.precision import best_precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def matrix_product(device: torch.device, precision: Precision, least_s: float = 0.3) -> float:
    """FLOP/s of a square matrix product with as many threads as torch is set to."""
    n = 8192 if device.type == "cuda" else 1024
    if precision == "bf16" and best_precision(device) != "bf16":
        n = 256  # Emulated, and so slow that a larger product takes seconds.
    a, b = (torch.randn(n, n, device=device).to(DTYPES[precision]) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 * runs_per_s(lambda: torch.mm(a, b, out=out), device, least_s)


def memory_copy(device: torch.device, least_s: float = 0.3) -> float:
    """Bytes/s that a copy reads and writes, taken together."""
    n_bytes = 2**31 if device.type == "cuda" else 2**27
    source = torch.ones(n_bytes, dtype=torch.uint8, device=device)
    into = torch.empty_like(source)
    return 2 * n_bytes * runs_per_s(lambda: into.copy_(source), device, least_s)


def ceilings(device: torch.device) -> dict[str, float]:
    """All ceilings of a device, and of one thread of the CPU."""
    n = torch.get_num_threads()
    found = _of(torch.device("cpu"), f"CPU, {n} threads" if n > 1 else "CPU, 1 thread")
    if n > 1:
        torch.set_num_threads(1)
        try:
            found |= _of(torch.device("cpu"), "CPU, 1 thread")
        finally:
            torch.set_num_threads(n)
    return found | (_of(device, "GPU") if device.type == "cuda" else {})


def _of(device: torch.device, where: str) -> dict[str, float]:
    return {
        f"{where}: bf16 product, GFLOP/s": matrix_product(device, "bf16") / 1e9,
        f"{where}: fp32 product, GFLOP/s": matrix_product(device, "fp32") / 1e9,
        f"{where}: memory copy, GB/s": memory_copy(device) / 1e9,
    }


def synchronize(device: torch.device) -> None:
    """Wait for the device; a CPU is never ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def runs_per_s(run: Callable[[], object], device: torch.device, least_s: float) -> float:
    """How often a second something runs, the device waited for each time."""
    run()
    synchronize(device)
    start, n = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < least_s or n < 2:
        run()
        synchronize(device)
        n += 1
    return n / spent
