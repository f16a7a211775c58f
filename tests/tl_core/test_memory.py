import subprocess
import sys

import pytest

from tl_core.memory import keep_freed_memory


def test_it_runs_and_may_run_again() -> None:
    # In a process of its own, because the setting can't be taken back.
    code = "from tl_core.memory import keep_freed_memory as keep; keep(); keep()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_no_library_is_opened(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("a C library was opened")

    monkeypatch.setattr("ctypes.CDLL", refuse)
    monkeypatch.setattr(sys, "platform", platform)
    keep_freed_memory()


def test_a_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    keep_freed_memory()
