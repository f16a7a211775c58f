"""Tables on a GPU of limited bytes."""

import numpy as np
import pytest
import torch

from tests.support.core.fake_gpu import fake_gpu
from tl_core.inputs.resident import ResidentTables

CPU = torch.device("cpu")
ROWS = np.arange(3000, dtype=np.float16).reshape(1500, 2) / 8
PARTS: list[np.ndarray] = [ROWS, -ROWS.astype(np.float32)]
SIZE = 3000 * 2 * 4
"""Bytes of both, in float32."""


def test_a_third_of_the_free_memory_is_for_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = ResidentTables()
    with fake_gpu(monkeypatch, 3 * SIZE):
        table = tables.get("pixels", "a", lambda: PARTS, CPU)
        assert table is not None
        assert (table.dtype, table.shape) == (torch.float32, (3000, 2))
        assert (table.numpy() == np.concatenate(PARTS)).all()
        assert tables.get("pixels", "a", lambda: pytest.fail("made again"), CPU) is table
        assert tables.nbytes == SIZE
    with fake_gpu(monkeypatch, 3 * SIZE - 1):
        assert ResidentTables().get("pixels", "a", lambda: PARTS, CPU) is None


def test_processes_that_share_a_gpu_share_that_room(monkeypatch: pytest.MonkeyPatch) -> None:
    for total, fits in ((6 * SIZE, True), (6 * SIZE - 1, False)):
        tables = ResidentTables()
        tables.sharing = 2
        with fake_gpu(monkeypatch, total):
            assert (tables.get("pixels", "a", lambda: PARTS, CPU) is not None) == fits


def test_a_table_counts_as_room_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for total, fits in ((6 * SIZE, True), (6 * SIZE - 1, False)):
        tables = ResidentTables()
        with fake_gpu(monkeypatch, total):
            first = tables.get("pixels", "a", lambda: PARTS, CPU)
            second = tables.get("activations", "b", lambda: PARTS, CPU)
            assert first is not None
            assert (second is not None) == fits
            # Another one of its kind takes its place.
            del first
            assert tables.get("pixels", "c", lambda: [ROWS], CPU) is not None
            assert tables.nbytes == (1 + 4 * fits) * SIZE // 4


def test_if_memory_is_gone_meanwhile_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_core.inputs.resident.memory", lambda _: (10**9, 10**9))
    with fake_gpu(monkeypatch, SIZE // 2) as gpu:
        tables = ResidentTables()
        assert tables.get("pixels", "a", lambda: PARTS, CPU) is None
        assert gpu.emptied == 1


def test_tables_that_were_given_up_stay_away(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = ResidentTables()
    with fake_gpu(monkeypatch, 3 * SIZE) as gpu:
        tables.get("pixels", "a", lambda: PARTS, CPU)
        assert tables.drop()
        assert gpu.memory_allocated(CPU) == 0
        assert tables.get("pixels", "a", lambda: PARTS, CPU) is None
        assert not tables.drop()
        assert tables.get("pixels", "b", lambda: PARTS, CPU) is not None


def test_a_cpu_keeps_none() -> None:
    assert ResidentTables().get("pixels", "a", lambda: pytest.fail("made"), CPU) is None
