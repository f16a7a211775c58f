"""Rows that are read ahead for a GPU; the CPU plays one."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.core.fake_gpu import fake_gpu
from tl_core.device import CPU, pinned_empty
from tl_core.inputs.stream import row_reader

TABLE = np.arange(60, dtype=np.uint8).reshape(20, 3)
ORDER = np.arange(19, -1, -1)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each read of the table takes."""
    found: list[int] = []

    def note(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        found.append(shape[0])
        return pinned_empty(shape, dtype, device)

    monkeypatch.setattr("tl_core.inputs.stream.pinned_empty", note)
    return found


@pytest.mark.parametrize("size", [1, 6, 20, 30])
def test_each_row_is_read_once(
    size: int, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [ORDER[start : start + size] for start in range(0, 20, size)]
    with fake_gpu(monkeypatch, 10**6), row_reader(TABLE, ORDER, CPU) as read:
        for rows in batches:
            np.testing.assert_array_equal(read(rows).numpy(), TABLE[rows])
    assert lengths == [len(rows) for rows in batches]


def test_a_batch_that_was_too_large_is_read_again_in_parts(
    lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [ORDER[:8], ORDER[:4], ORDER[4:8], ORDER[8:12]]
    with fake_gpu(monkeypatch, 10**6), row_reader(TABLE, ORDER, CPU) as read:
        for rows in parts:
            np.testing.assert_array_equal(read(rows).numpy(), TABLE[rows])
    # The second 8 were read ahead before the first turned out to be too many.
    assert lengths == [8, 8, 4, 4, 4, 4]


def test_the_host_does_not_run_ahead_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, waited = list[int](), list[int]()

    class Event:
        """The work that the GPU had been given when some batch was read."""

        def __init__(self, _: torch.device) -> None:
            self.number = len(begun)
            begun.append(self.number)

        def wait(self) -> None:
            waited.append(self.number)

    monkeypatch.setattr("tl_core.inputs.stream.CopyEvent", Event)
    with fake_gpu(monkeypatch, 10**6), row_reader(TABLE, ORDER, CPU) as read:
        for start in range(0, 20, 4):
            read(ORDER[start : start + 4])
            assert len(begun) - len(waited) <= 2
    assert waited == [0, 1, 2]


def test_a_cpu_reads_nothing_ahead(lengths: list[int]) -> None:
    with row_reader(TABLE, ORDER, CPU) as read:
        np.testing.assert_array_equal(read(ORDER[:4]).numpy(), TABLE[ORDER[:4]])
    assert lengths == []
