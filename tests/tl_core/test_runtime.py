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
def test_on_other_systems_no_library_is_opened(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("a C library was opened")

    monkeypatch.setattr("ctypes.CDLL", refuse)
    monkeypatch.setattr(sys, "platform", platform)
    keep_freed_memory()


def test_a_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    keep_freed_memory()


def test_the_number_of_threads_is_restored() -> None:
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
