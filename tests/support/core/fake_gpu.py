"""A GPU of so many bytes that is made of the host's memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tl_core import device


class FakeGpu(TorchDispatchMode):
    """Counts the bytes of all tensors that are made while it is entered.

    It raises torch's error for a GPU that is too small, after the operation that was too large.
    """

    def __init__(self, total: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total, self.emptied = total, 0
        self.most = 0
        """Bytes that were in use at once."""
        self.sync_modes: list[str] = []
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}
        self._at_most = 0
        """Bytes of all that is in `_held`, whether or not it is still in use."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for value in tree_leaves(outputs):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                weak, n_bytes = StorageWeakRef(storage), storage.nbytes()  # type: ignore[no-untyped-call]
                _, before = self._held.get(storage._cdata, (weak, 0))
                self._held[storage._cdata] = weak, n_bytes
                self._at_most += n_bytes - before
        # To look at all tensors after each operation would take most of a test's time.
        if self._at_most > min(self.most, self.total):
            used = self.memory_allocated(None)
            if used > self.total:
                raise torch.OutOfMemoryError(f"CUDA out of memory: {used} of {self.total} bytes")
            self.most = max(self.most, used)
        return outputs

    def memory_allocated(self, device: Any) -> int:
        self._held = {at: held for at, held in self._held.items() if not held[0].expired()}  # type: ignore[no-untyped-call]
        self._at_most = sum(size for _, size in self._held.values())
        return self._at_most

    memory_reserved = memory_allocated

    def set_per_process_memory_fraction(self, fraction: float, device: Any) -> None:
        self.total = int(self.total * fraction)

    def set_sync_debug_mode(self, debug_mode: str) -> None:
        self.sync_modes.append(debug_mode)

    def max_memory_reserved(self, device: Any) -> int:
        return self.most

    def mem_get_info(self, device: Any) -> tuple[int, int]:
        return self.total - self.memory_allocated(device), self.total

    def empty_cache(self) -> None:
        self.emptied += 1

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def get_device_name(self, device: Any) -> str:
        return "fake GPU"

    def get_rng_state(self, device: Any) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, new_state: Tensor, device: Any) -> None:
        torch.set_rng_state(new_state)


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch, total: int) -> Iterator[FakeGpu]:
    """Have the CPU count as a GPU of `total` bytes that are all free."""
    with monkeypatch.context() as patch, FakeGpu(total) as gpu:
        patch.setattr(device, "accelerator_of", lambda _: gpu)
        yield gpu
