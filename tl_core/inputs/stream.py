"""Rows on their way to a GPU while it computes; each is needed once, in an order that is known."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from tl_core.device import CopyEvent, UploadStream, is_gpu, pinned_empty, upload

_IN_FLIGHT = 2
"""Batches before this one that the device may still compute on when it is read."""


class RowStream:
    """Reads batches of a table's rows, in order; `row_reader` makes it.

    A thread copies the rows of the next batch to locked memory, and from there they go to the GPU,
    while it computes on the batch before. So nothing waits for the host's memory, and the GPU holds
    a few batches and not the table.
    """

    def __init__(
        self, table: np.ndarray, order: np.ndarray, device: torch.device, thread: ThreadPoolExecutor
    ) -> None:
        self._table, self._order, self._device = table, order, device
        self._thread, self._uploads = thread, UploadStream(device)
        self._ahead: tuple[np.ndarray, Future[Tensor]] | None = None
        self._begun: deque[CopyEvent] = deque()

    def read(self, rows: np.ndarray) -> Tensor:
        """Return some rows on the device, [B, ...]; those that follow them are read ahead."""
        # The host is faster than the GPU, whose memory would fill up with batches to come.
        self._begun.append(CopyEvent(self._device))
        if len(self._begun) > _IN_FLIGHT:
            self._begun.popleft().wait()
        if self._ahead is None or not np.array_equal(self._ahead[0], rows):
            self._ahead = self._begin(rows)
        host = self._ahead[1].result()
        end = int(np.flatnonzero(self._order == rows[-1])[0]) + 1
        following = self._order[end : end + len(rows)]
        self._ahead = self._begin(following) if len(following) else None
        return self._uploads.upload(host)

    def _begin(self, rows: np.ndarray) -> tuple[np.ndarray, Future[Tensor]]:
        return rows, self._thread.submit(self._copy, rows)

    def _copy(self, rows: np.ndarray) -> Tensor:
        shape = (len(rows), *self._table.shape[1:])
        host = pinned_empty(shape, torch.from_numpy(self._table[:0].copy()).dtype, self._device)
        # With "raise", numpy would copy twice.
        np.take(self._table, rows, axis=0, out=host.numpy(), mode="clip")
        return host


@contextmanager
def row_reader(
    table: np.ndarray, order: np.ndarray, device: torch.device
) -> Iterator[Callable[[np.ndarray], Tensor]]:
    """Open a reader of rows [B] -> [B, ...] on the device, from a table [N, ...].

    Args:
        table: may be a memory map.
        order: rows that are to be read, each once, [n]. A batch may be read again, as a whole or
            its first part.
        device: where they go. A CPU reads nothing ahead.
    """
    if not is_gpu(device):
        yield lambda rows: upload(table[rows], device)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="rows") as thread:
        yield RowStream(table, order, device, thread).read
