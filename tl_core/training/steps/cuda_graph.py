"""Work on a GPU that is recorded once, as a CUDA graph, and then repeated by one call.

A step of a small network is some hundred kernels, and to launch them one by one takes the processor
longer than they run. A graph launches all of them at once. It repeats them with the addresses that
they had: what they read and write must stay where it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

Work = Callable[[], None]
Capture = Callable[[Work, torch.device], Work]
"""Runs some work a few times on a device, records it, and returns what repeats it."""

_WARM_UP = 3
"""Runs before the record, as torch's notes on CUDA graphs advise: libraries set themselves up, and
search for algorithms, when they are first used."""


def can_capture(device: torch.device) -> bool:
    """Whether work on a device is recorded: on GPUs of NVIDIA alone, unless every bit must repeat.

    Libraries may choose other algorithms while they are recorded.
    """
    exact = torch.are_deterministic_algorithms_enabled()
    return device.type == "cuda" and torch.version.hip is None and not exact


def rate_format(device: torch.device) -> torch.dtype:
    """The number format in which torch's fused Adam reads a learning rate that is a tensor."""
    return torch.float64 if device.type == "cpu" else torch.float32


def capture(work: Work, device: torch.device) -> Work:
    """Record what some work asks of a GPU; it is done `_WARM_UP` times, and not by the record.

    It must not wait for the GPU, nor take anything from the host. The last run before the record
    tells: a record that fails may leave torch's memory management in disorder, such a run does not.

    Raises `RuntimeError`, of torch, if the work can't be recorded.
    """
    here = torch.cuda.current_stream(device)
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(here)
    try:
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP - 1):
                work()
            with _waits_are_errors():
                work()
    finally:
        here.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        # Other threads may use the GPU meanwhile: one that writes a checkpoint waits for its copy.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            work()
    finally:
        torch.cuda.set_stream(here)  # A record that fails leaves the other one in place.
    return graph.replay


@contextmanager
def _waits_are_errors() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
