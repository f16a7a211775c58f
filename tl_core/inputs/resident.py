"""Tables that stay on a GPU between the trials of a worker: pixels, and activations."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from tl_core.device import is_gpu
from tl_core.gpu_memory import is_out_of_memory, memory, release_memory

FRACTION = 3
"""All tables together take at most 1 / 3 of the memory that is free without them."""
_UPLOAD = 1024
"""Rows that are copied there at once: the whole set need not fit into the host's memory."""

Parts = Callable[[], Sequence[np.ndarray]]


class ResidentTables:
    """The tables of this process, one of each kind."""

    def __init__(self) -> None:
        self.sharing = 1
        """Processes that share the GPU; each takes its part of the room for tables."""
        self.holders: list[Callable[[], bool]] = []
        """What else holds tables lets go of them when they are to go, and says whether it had any.
        """
        self._kept: dict[str, tuple[Hashable, Tensor | None]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes that they take."""
        return sum(table.nbytes for _, table in self._kept.values() if table is not None)

    def get(self, kind: str, key: Hashable, parts: Parts, device: torch.device) -> Tensor | None:
        """Return a table that is on the device, [N, ...].

        Args:
            kind: a table of the same kind and another key is given up.
            key: names the content.
            parts: makes it: tables [N, ...], one after another; called if it is not there yet.
            device: where it is to stay.

        Returns:
            None if it is too large, and on a CPU. That stays so until another key is asked for:
            the host's memory is read then.
        """
        if not is_gpu(device):
            return None
        if kind not in self._kept or self._kept[kind][0] != (key, device):
            self._kept.pop(kind, None)
            self._let_go()  # Also of memory that only it can use.
            self._kept[kind] = (key, device), self._make(parts(), device)
        return self._kept[kind][1]

    def drop(self) -> bool:
        """Give all tables up, for memory that is needed otherwise; return whether there was one."""
        had_one = self.nbytes > 0
        self._kept = {kind: (key, None) for kind, (key, _) in self._kept.items()}
        return self._let_go() or had_one

    def _let_go(self) -> bool:
        return sum(let_go() for let_go in self.holders) > 0

    def _make(self, parts: Sequence[np.ndarray], device: torch.device) -> Tensor | None:
        held, (free, _) = self.nbytes, memory(device)
        size = sum(map(len, parts)) * parts[0][0].size * np.result_type(*parts).itemsize
        if (held + size) * FRACTION * self.sharing > free + held:
            return None
        try:
            return _upload_table(parts, device)
        except RuntimeError as error:  # Other processes may have taken the memory meanwhile.
            if not is_out_of_memory(error):
                raise
        release_memory(device)
        return None


def _upload_table(parts: Sequence[np.ndarray], device: torch.device) -> Tensor:
    n_rows, dtype = sum(map(len, parts)), np.result_type(*parts)
    like = torch.from_numpy(np.empty(0, dtype))
    table = torch.empty((n_rows, *parts[0].shape[1:]), dtype=like.dtype, device=device)
    at = 0
    for part in parts:
        for start in range(0, len(part), _UPLOAD):
            rows = torch.from_numpy(np.array(part[start : start + _UPLOAD]))
            table[at : at + len(rows)] = rows
            at += len(rows)
    return table


RESIDENT = ResidentTables()
"""Those of this process."""
