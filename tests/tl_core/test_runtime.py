import subprocess
import sys

import pytest
import torch

from tl_core.runtime import keep_freed_memory, one_thread


def test_glibc_is_told_and_may_be_told_again() -> None:
    # In a process of its own, because the setting can't be taken back.
    code = "from tl_core.runtime import keep_freed_memory as keep; keep(); keep()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_and_libraries(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    opened: list[object] = []
    monkeypatch.setattr("ctypes.CDLL", lambda name: opened.append(name))
    keep_freed_memory()  # This library has no mallopt.
    assert len(opened) == 1
    monkeypatch.setattr(sys, "platform", platform)
    keep_freed_memory()
    assert len(opened) == 1


def test_the_number_of_threads_is_restored() -> None:
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
