import errno
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock, SoftFileLock, Timeout

from tl_core.data.cache import publish
from tl_core.files import _has_flock, file_lock


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What a disk can is found out once a process."""
    _has_flock.cache_clear()
    yield
    _has_flock.cache_clear()


def refuse(patch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, "no")

    patch.setattr("fcntl.flock", flock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(monkeypatch, number)
    first, second = (file_lock(tmp_path / "x.lock") for _ in range(2))
    assert isinstance(first, SoftFileLock)
    with first.acquire(timeout=0), pytest.raises(Timeout):
        second.acquire(timeout=0)
    second.acquire(timeout=0).lock.release()
    with caplog.at_level(logging.WARNING):
        publish(tmp_path / "entry", lambda into: (into / "file").touch())
    assert (tmp_path / "entry" / "file").exists()
    text = f"note: the disk of {tmp_path} has no file locks; files stand for them"
    assert [r.getMessage() for r in caplog.records].count(text) == 1


def test_a_file_of_a_disk_that_had_locks_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.lock").touch()  # As `FileLock` leaves it.
    refuse(monkeypatch, errno.ENOLCK)
    with file_lock(tmp_path / "x.lock").acquire(timeout=0):
        assert (tmp_path / "x.lock.held").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["x.lock"]


def test_a_killed_process_of_this_machine_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, errno.ENOLCK)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with file_lock(tmp_path / "x.lock").acquire(timeout=0):
        of_mine = (tmp_path / "x.lock.held").read_text(encoding="utf-8")
    assert of_mine.startswith(f"{os.getpid()}\n")
    of_ended = of_mine.replace(f"{os.getpid()}\n", f"{ended.pid}\n", 1)
    (tmp_path / "x.lock.held").write_text(of_ended, encoding="utf-8")
    file_lock(tmp_path / "x.lock").acquire(timeout=0.5).lock.release()


def test_other_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(file_lock(tmp_path / "x.lock"), FileLock)
    refuse(monkeypatch, errno.EIO)
    _has_flock.cache_clear()
    assert isinstance(file_lock(tmp_path / "x.lock"), FileLock), "which says what is wrong"
